package aws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/backup"
)

const sealRole = "SealRole"

type sealStatement struct {
	Effect    string
	Action    any
	Resource  any
	Condition map[string]map[string]any
}

// sealStatements are those of the role that seals; conditional ones with their condition.
func sealStatements(t *testing.T, d document) (always []sealStatement, when map[string][]sealStatement) {
	t.Helper()
	var p struct {
		Policies []struct {
			PolicyDocument struct{ Statement []json.RawMessage }
		}
	}
	decode(t, d.Resources[sealRole].Properties, &p)
	if len(p.Policies) != 1 {
		t.Fatalf("%d policies", len(p.Policies))
	}
	when = map[string][]sealStatement{}
	for _, raw := range p.Policies[0].PolicyDocument.Statement {
		var s sealStatement
		var choice []json.RawMessage
		if json.Unmarshal(raw, &choice) != nil {
			decode(t, raw, &s)
			always = append(always, s)
			continue
		}
		var condition, otherwise string
		decode(t, choice[0], &condition)
		decode(t, choice[1], &s)
		decode(t, choice[2], &otherwise)
		if len(choice) != 3 || otherwise != "AWS::NoValue" {
			t.Errorf("%s: expected a condition, a statement and AWS::NoValue", raw)
		}
		when[condition] = append(when[condition], s)
	}
	return always, when
}

// TestSealRole: it reads below the prefix, writes manifests where there are none, signs with the one key, and nothing else.
func TestSealRole(t *testing.T) {
	const bucket = "arn:${AWS::Partition}:s3:::${VeleroBucketName}"
	const in, at = bucket + "/${VeleroPrefix}/backups/*", bucket + "/backups/*"
	list := func(texts ...string) []any {
		var out []any
		for _, x := range texts {
			out = append(out, x)
		}
		return out
	}
	always, when := sealStatements(t, read(t))
	want := []sealStatement{
		{"Allow", list("s3:GetObject", "s3:GetObjectVersion"), list("HasVeleroPrefix", in, at), nil},
		{"Allow", list("s3:ListBucket", "s3:ListBucketVersions"), bucket, map[string]map[string]any{"StringLike": {"s3:prefix": list("HasVeleroPrefix", "${VeleroPrefix}/backups/*", "backups/*")}}},
		{"Allow", "s3:PutObject", []any{"HasVeleroPrefix",
			list(in+"/"+backup.ManifestFile, in+"/"+backup.SignatureFile), list(at+"/"+backup.ManifestFile, at+"/"+backup.SignatureFile)},
			map[string]map[string]any{"Null": {"s3:if-none-match": "false"}}},
		{"Allow", list("logs:CreateLogStream", "logs:PutLogEvents"), "SealLogs.Arn", nil},
		{"Allow", "sqs:SendMessage", "DeadLetters.Arn", nil},
	}
	if !reflect.DeepEqual(always, want) {
		t.Errorf("%+v\nwant %+v", always, want)
	}
	wantWhen := map[string][]sealStatement{
		"HasVeleroBucketKey": {{"Allow", list("kms:Decrypt", "kms:GenerateDataKey"), "VeleroBucketKeyArn", map[string]map[string]any{"StringLike": {"kms:ViaService": "s3.*.${AWS::URLSuffix}"}}}},
		"HasManifestKey": {
			{"Allow", "kms:Sign", "ManifestKeyArn", map[string]map[string]any{"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}},
			{"Allow", "kms:GetPublicKey", "ManifestKeyArn", nil},
		},
	}
	if !reflect.DeepEqual(when, wantWhen) {
		t.Errorf("%+v\nwant %+v", when, wantWhen)
	}
}

// TestWhoSeals: one function has the role, and it has no other rights.
func TestWhoSeals(t *testing.T) {
	d := read(t)
	for name := range d.functions(t) {
		var p struct {
			Role     string
			Policies []json.RawMessage
		}
		decode(t, d.Resources[name].Properties, &p)
		if seals := name == "SealFunction"; (p.Role == sealRole+".Arn") != seals || len(p.Policies) > 0 {
			t.Errorf("%s has the role %q and %d policies", name, p.Role, len(p.Policies))
		}
	}
	var role struct {
		AssumeRolePolicyDocument json.RawMessage
	}
	decode(t, d.Resources[sealRole].Properties, &role)
	if !slices.Equal(d.policies(t, "SealFunction"), []string{"Trace", "OpenWithKey if HasKey", "WriteWithKey if HasKey"}) ||
		!bytes.Contains(role.AssumeRolePolicyDocument, []byte(`"Service":"lambda.amazonaws.com"`)) || bytes.Count(role.AssumeRolePolicyDocument, []byte("Effect")) != 1 {
		t.Errorf("%+v %s", role, role.AssumeRolePolicyDocument)
	}
	var f struct{ DeadLetterQueue struct{ TargetArn string } }
	if decode(t, d.Resources["SealFunction"].Properties, &f); f.DeadLetterQueue.TargetArn != "DeadLetters.Arn" {
		t.Errorf("%+v: expected the dead letters", f)
	}
}

// matches has moto's event patterns, which nobody here wrote, match the events.
func matches(t *testing.T, pattern any, events []json.RawMessage) []bool {
	t.Helper()
	in, err := json.Marshal(map[string]any{"pattern": pattern, "events": events})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), judge(t, "judges", "venv", "bin", "python"), "-c", `import json, sys
from moto.events.models import EventPattern, EventPatternParser
given = json.load(sys.stdin)
raw = json.dumps(given["pattern"])
p = EventPattern(raw, EventPatternParser(raw).parse())
print(json.dumps([p.matches_event(e) for e in given["events"]]))`)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	var got []bool
	decode(t, out, &got)
	return got
}

// TestBackupWrittenRule: what the rule delivers, with and without a prefix, is what the parser reads. A wildcard takes a slash too: the
// key with one more is the parser's to leave out, and the only one.
func TestBackupWrittenRule(t *testing.T) {
	var r struct {
		EventPattern map[string]any
		Targets      []struct {
			Arn              string
			InputTransformer any
			DeadLetterConfig struct{ Arn string }
		}
	}
	d := read(t)
	decode(t, d.Resources["BackupWrittenRule"].Properties, &r)
	if len(r.Targets) != 1 || r.Targets[0].Arn != "SealFunction.Alias" || r.Targets[0].DeadLetterConfig.Arn != "DeadLetters.Arn" || r.Targets[0].InputTransformer != nil {
		t.Fatalf("%+v: expected the function as it is, with the dead letters", r.Targets)
	}
	files, err := filepath.Glob(filepath.Join(root, "events", "testdata", "backup-*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, prefix := range []string{"eu/main", ""} {
		text, err := json.Marshal(r.EventPattern)
		if err != nil {
			t.Fatal(err)
		}
		pattern := map[string]any{}
		decode(t, text, &pattern)
		key := pattern["detail"].(map[string]any)["object"].(map[string]any)["key"].([]any)[0].(map[string]any)
		choice := key["wildcard"].([]any)
		if key["wildcard"] = choice[2]; choice[0] != "HasVeleroPrefix" {
			t.Fatalf("%v", choice)
		} else if prefix != "" {
			key["wildcard"] = strings.ReplaceAll(choice[1].(string), "${VeleroPrefix}", prefix)
		}
		pattern["detail"].(map[string]any)["bucket"] = map[string]any{"name": []string{"velero-eu"}} // !Ref VeleroBucketName
		parser := events.BackupWritten{Bucket: "velero-eu", Prefix: prefix}
		var samples []json.RawMessage
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, bytes.ReplaceAll(b, []byte("eu/main/"), []byte(strings.TrimPrefix(prefix+"/", "/"))))
		}
		for i, got := range matches(t, pattern, samples) {
			registry, err := events.NewRegistry(parser)
			if err != nil {
				t.Fatal(err)
			}
			e, err := registry.Parse(samples[i])
			_, want := e.(events.Backup)
			if deeper := strings.HasSuffix(files[i], "backup-deeper.json"); err != nil || got != (want || deeper) {
				t.Errorf("prefix %q: the rule takes %s: %t; the parser says %T %+v %v", prefix, filepath.Base(files[i]), got, e, e, err)
			}
		}
	}
}

// TestSealIsConditional: without the bucket or the key there is nothing of it, and the role is there before the key.
func TestSealIsConditional(t *testing.T) {
	text := string(source(t))
	for name, condition := range map[string]string{sealRole: "HasVelero", "SealFunction": "SealsBackups", "BackupWrittenRule": "SealsBackups", "BackupWrittenPermission": "SealsBackups"} {
		_, after, ok := strings.Cut(text, "\n  "+name+":\n")
		lines := strings.SplitN(after, "\n", 3)
		if !ok || len(lines) < 3 || strings.TrimSpace(lines[1]) != "Condition: "+condition {
			t.Errorf("%s: %q: expected the condition %s", name, lines, condition)
		}
	}
	if !strings.Contains(text, "SealsBackups: !And [!Condition HasVelero, !Condition HasManifestKey]") {
		t.Error("SealsBackups is not both the bucket and the key")
	}
}
