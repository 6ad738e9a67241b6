// Package velero_test holds what an operator applies for Velero against the code's own names and against what Velero 1.18, its AWS
// plugin 1.14 and the Helm chart 12.1.0 know.
package velero_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/backup"
)

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// texts is an element of a policy: one text or several.
type texts []string

func (s *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}

type statement struct {
	Sid, Effect      string
	Principal        map[string]string
	Action, Resource texts
	Condition        map[string]map[string]string
}

func policy(t *testing.T, name string) []statement {
	t.Helper()
	var p struct {
		Version   string
		Statement []statement
	}
	d := json.NewDecoder(bytes.NewReader(file(t, name)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := d.Decode(new(any)); err != io.EOF || p.Version != "2012-10-17" || len(p.Statement) == 0 {
		t.Fatalf("%s: version %q, %d statements, then %v", name, p.Version, len(p.Statement), err)
	}
	return p.Statement
}

// TestPolicies: exactly these actions; none with a wildcard; a resource of * only where EC2 knows no other.
func TestPolicies(t *testing.T) {
	object := []string{"s3:GetObject", "s3:DeleteObject", "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
	key := []string{"kms:GenerateDataKey", "kms:Decrypt"}
	want := map[string][]string{
		"iam-policy.json":                  append(append([]string{"s3:ListBucket"}, object...), key...),
		"iam-policy-native-snapshots.json": {"ec2:DescribeVolumes", "ec2:DescribeSnapshots", "ec2:CreateTags", "ec2:CreateVolume", "ec2:CreateSnapshot", "ec2:DeleteSnapshot"},
		"iam-policy-restore-only.json":     append(append([]string{"s3:ListBucket"}, key...), "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
		"iam-policy-seal.json": append(append([]string{"s3:ListBucket", "s3:ListBucketVersions"}, key...),
			"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "kms:Sign", "kms:GetPublicKey"),
	}
	found, err := filepath.Glob("iam-policy*.json")
	if err != nil || len(found) != len(want) {
		t.Errorf("%v, %v: expected %d policies", found, err, len(want))
	}
	for name, actions := range want {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range policy(t, name) {
				if s.Effect != "Allow" || s.Principal != nil || len(s.Action) == 0 || len(s.Resource) == 0 {
					t.Errorf("%s: expected it to allow actions on resources", s.Sid)
				}
				got = append(got, s.Action...)
				for _, r := range s.Resource {
					if r == "*" && slices.ContainsFunc(s.Action, func(a string) bool { return !strings.HasPrefix(a, "ec2:Describe") }) {
						t.Errorf("%s: %v on every resource", s.Sid, s.Action)
					}
				}
				if slices.Contains(s.Action, "kms:Decrypt") && s.Condition["StringEquals"]["kms:ViaService"] != "s3.${REGION}.amazonaws.com" {
					t.Errorf("%s: the bucket's key is for S3 alone: %v", s.Sid, s.Condition)
				}
			}
			for _, a := range got {
				if strings.ContainsAny(a, "*?") {
					t.Errorf("%s has a wildcard", a)
				}
			}
			slices.Sort(got)
			slices.Sort(actions)
			if !slices.Equal(got, actions) {
				t.Errorf("got  %v\nwant %v", got, actions)
			}
		})
	}
}

// writes lists where a policy lets objects be put or deleted.
func writes(t *testing.T, name string) (out []string) {
	t.Helper()
	for _, s := range policy(t, name) {
		if slices.ContainsFunc(s.Action, func(a string) bool { return a == "s3:PutObject" || a == "s3:DeleteObject" }) {
			out = append(out, s.Resource...)
		}
	}
	return out
}

// TestWhoMayWrite: who seals writes the manifest and its signature and no backup, who restores only what restores say.
func TestWhoMayWrite(t *testing.T) {
	const place = "arn:aws:s3:::${BUCKET}/${PREFIX}/"
	for name, want := range map[string][]string{
		"iam-policy.json":              {place + "*"},
		"iam-policy-restore-only.json": {place + "restores/*"},
		"iam-policy-seal.json":         {place + "backups/*/" + backup.ManifestFile, place + "backups/*/" + backup.SignatureFile},
	} {
		if got := writes(t, name); !slices.Equal(got, want) {
			t.Errorf("%s writes to %v: expected %v", name, got, want)
		}
	}
}

// TestReadme: it names every file, and how each placeholder is filled in.
func TestReadme(t *testing.T) {
	readme := string(file(t, "README.md"))
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	placeholder := regexp.MustCompile(`\$\{([A-Z_]+)\}`)
	used := map[string]bool{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") || e.Name() == "README.md" {
			continue
		}
		if !strings.Contains(readme, "`"+e.Name()+"`") {
			t.Errorf("README.md does not say what %s is", e.Name())
		}
		for _, m := range placeholder.FindAllStringSubmatch(string(file(t, e.Name())), -1) {
			used[m[1]] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(used)) {
		if !strings.Contains(readme, "$"+n+" ") && !strings.Contains(readme, "$"+n+"'") {
			t.Errorf("README.md does not fill in ${%s}", n)
		}
	}
}
