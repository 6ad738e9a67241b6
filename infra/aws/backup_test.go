package aws_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/asl"
)

// policies lists the managed policies of a function's role, with the condition where there is one.
func (d document) policies(t *testing.T, function string) []string {
	t.Helper()
	var out []string
	for _, raw := range d.role(t, function).ManagedPolicyArns {
		var list []string
		switch {
		case json.Unmarshal(raw, &list) == nil: // !If [condition, then, else]
			if len(list) != 3 || list[2] != "AWS::NoValue" {
				t.Errorf("%s: %s: expected a condition, a policy and AWS::NoValue", function, raw)
				continue
			}
			out = append(out, list[1]+" if "+list[0])
		default:
			out = append(out, strings.Trim(string(raw), `"`))
		}
	}
	return out
}

// TestWhoReadsBackups: a function that opens an inventory may open a Velero backup, and nobody else; the gate alone reads the database's secret.
func TestWhoReadsBackups(t *testing.T) {
	d := read(t)
	opens := regexp.MustCompile(`\.VerifiedInventory\(|backup\.(?:List|Verify|Choose|Read)\(`)
	for name := range d.functions(t) {
		dir := strings.ToLower(strings.TrimSuffix(name, "Function"))
		files, err := filepath.Glob(filepath.Join(root, "functions", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("functions/%s: %v, %v", dir, files, err)
		}
		reads := dir == "backup"
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			code, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			reads = reads || opens.Match(code)
		}
		has := d.policies(t, name)
		for policy, want := range map[string]bool{"ReadInventories": reads && dir != "backup", "ReadBackups if HasVelero": reads, "VerifyBackups if SealsBackups": dir == "backup", "ReadDatabaseSecret if HasDatabaseSecret": dir == "gate"} {
			if got := slices.Contains(has, policy); got != want {
				t.Errorf("%s has %v: %s %t, expected %t", name, has, policy, got, want)
			}
		}
	}
	if name := asl.LogicalName("backup"); len(d.policies(t, name)) == 0 {
		t.Errorf("%s has no policies", name)
	}
}

// TestNothingSignsOrWritesBackups: what may be done, action by action, is written out; a function that could sign a manifest or write to
// the bucket of the backups would prove nothing by verifying. The one that seals is TestSealRole's.
func TestNothingSignsOrWritesBackups(t *testing.T) {
	d := read(t)
	for _, st := range d.statements(t) {
		if st.Effect != "Allow" || st.From == sealRole {
			continue
		}
		for _, a := range texts(st.Action) {
			switch {
			case strings.Contains(a, "*"), strings.HasPrefix(a, "iam:"):
				t.Errorf("%s allows %s", st.From, a)
			case st.From == "WriteWithKey" && a == "kms:GenerateDataKey" && st.Resource == "KmsKeyArn", st.From == "OpenWithKey" && a == "kms:Decrypt" && st.Resource == "KmsKeyArn":
			case st.From == "VerifyBackups" && a == "kms:GetPublicKey", st.From == "ReadBackups" && a == "kms:Decrypt":
			case strings.HasPrefix(a, "kms:"):
				t.Errorf("%s allows %s on %v", st.From, a, st.Resource)
			}
		}
	}
	var p struct {
		PolicyDocument struct{ Statement []json.RawMessage }
	}
	decode(t, d.Resources["ReadBackups"].Properties, &p)
	text := string(d.Resources["ReadBackups"].Properties)
	for _, never := range []string{"s3:Put", "s3:Delete", "s3:Abort", "kms:Sign", "kms:Encrypt", "kms:GenerateDataKey"} {
		if strings.Contains(text, never) {
			t.Errorf("ReadBackups has %s", never)
		}
	}
	for _, must := range []string{"s3:GetObjectVersion", "s3:ListBucketVersions", "${VeleroBucketName}/${VeleroPrefix}/backups/*", "${VeleroBucketName}/backups/*"} {
		if !strings.Contains(text, must) {
			t.Errorf("ReadBackups lacks %s", must)
		}
	}
	if len(p.PolicyDocument.Statement) != 3 {
		t.Errorf("ReadBackups has %d statements", len(p.PolicyDocument.Statement))
	}
	var secret struct {
		PolicyDocument struct {
			Statement []struct{ Action, Resource string }
		}
	}
	decode(t, d.Resources["ReadDatabaseSecret"].Properties, &secret)
	if s := secret.PolicyDocument.Statement; len(s) != 1 || s[0].Action != "secretsmanager:GetSecretValue" || s[0].Resource != "DatabaseSecretArn" {
		t.Errorf("ReadDatabaseSecret: %+v", s)
	}
}

// TestParameters: what may stay empty does so by default, and its pattern takes what it names and nothing wider.
func TestParameters(t *testing.T) {
	var ps struct {
		Parameters map[string]struct {
			Default        any
			AllowedPattern string
		}
	}
	d := read(t)
	decode(t, d.Parameters, &ps.Parameters)
	for name, c := range map[string]struct{ good, bad []string }{
		"VeleroBucketName":   {[]string{"", "velero-eu", "a.b"}, []string{"*", "Velero", "a/b"}},
		"VeleroPrefix":       {[]string{"", "eu", "clusters/eu-1"}, []string{"/eu", "eu/", "*", "eu/*"}},
		"VeleroBucketKeyArn": {[]string{"", "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"}, []string{"*", "alias/x", "arn:aws:kms:eu-west-1:123456789012:key/*"}},
		"ManifestKeyArn":     {[]string{"", "arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"}, []string{"*", "arn:aws:kms:eu-west-1:123456789012:alias/x"}},
		"DatabaseSecretArn": {[]string{"", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/db-AbCdEf", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/*"},
			[]string{"*", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:*", "arn:aws:secretsmanager:*:123456789012:secret:a"}},
		"PermissionsBoundary": {[]string{"", "arn:aws:iam::123456789012:policy/boundary", "arn:aws:iam::aws:policy/x"}, []string{"*", "boundary", "arn:aws:iam::123456789012:role/x"}},
		"KmsKeyArn":           {[]string{"", "arn:aws:kms:eu-west-1:123456789012:key/1111"}, []string{"*", "alias/aws/s3", "arn:aws:kms:eu-west-1:123456789012:key/*"}},
		"VpcSubnetIds":        {[]string{"", "subnet-0a1"}, []string{"*", "subnet-", " subnet-0b2", "vpc-1"}},
		"VpcSecurityGroupIds": {[]string{"", "sg-0a1"}, []string{"*", "sg-"}},
		"NotifyEmail":         {[]string{"", "dba@example.com"}, []string{"dba", "a b@example.com"}},
		"DrillSchedule":       {[]string{"", "cron(0 2 * * ? *)", "rate(1 day)"}, []string{"0 2 * * *", "cron(0 2 * * ?)", "cron(0 2 * * ? * *)", "rate(0 days)", "at(2026-01-01T00:00:00)"}},
		"EvaluateSchedule":    {[]string{"", "rate(6 hours)"}, []string{"6 hours", "rate(six hours)"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, ok := ps.Parameters[name]
			if !ok || p.Default != "" {
				t.Fatalf("%+v: expected a parameter that is empty by default", p)
			}
			re, err := regexp.Compile(p.AllowedPattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range c.good {
				if !re.MatchString(g) {
					t.Errorf("%q is refused", g)
				}
			}
			for _, b := range c.bad {
				if re.MatchString(b) {
					t.Errorf("%q is accepted", b)
				}
			}
		})
	}
}
