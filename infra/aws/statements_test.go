package aws_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// statement is one of a policy, with the resource of the template that has it.
type statement struct {
	From, Effect, Sid           string
	Action, Resource, Principal any
	Condition                   map[string]map[string]any
}

// statements are all of the template, those behind a condition too.
func (d document) statements(t *testing.T) []statement {
	t.Helper()
	var out []statement
	for _, name := range slices.Sorted(maps.Keys(d.Resources)) {
		var tree any
		if p := d.Resources[name].Properties; p != nil {
			decode(t, p, &tree)
		}
		walk(tree, func(m map[string]any) {
			if _, ok := m["Effect"]; !ok {
				return
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			st := statement{From: name}
			decode(t, text, &st)
			out = append(out, st)
		})
	}
	return out
}

// walk visits every mapping of a tree.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			walk(e, visit)
		}
	case map[string]any:
		visit(v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			walk(v[k], visit)
		}
	}
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	}
	return nil
}

type role struct {
	PermissionsBoundary []string
	ManagedPolicyArns   []json.RawMessage
}

// role is a function's.
func (d document) role(t *testing.T, function string) (r role) {
	t.Helper()
	var f struct{ Role string }
	decode(t, d.Resources[function].Properties, &f)
	name, ok := strings.CutSuffix(f.Role, ".Arn")
	if have := d.Resources[name]; !ok || have.Type != "AWS::IAM::Role" {
		t.Fatalf("%s has the role %q: expected one of the template", function, f.Role)
	}
	decode(t, d.Resources[name].Properties, &r)
	return r
}

// templates are all that CloudFormation is given, by path.
func templates(t *testing.T) map[string]document {
	t.Helper()
	out := map[string]document{}
	for _, pattern := range []string{"template.yaml", "infra/aws/*.yaml", "infra/kubernetes/eks/*.yaml", "infra/kubernetes/velero/manifest-key.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", pattern, files, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var tree map[string]any
			if err := yaml.Unmarshal(data, &tree); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			var d document
			decode(t, text, &d)
			out[strings.TrimPrefix(f, root+"/")] = d
		}
	}
	return out
}

// TestRoles: each function has a role of its own and nobody else's, every role is bounded, and what has no resource to name is known.
func TestRoles(t *testing.T) {
	everywhere := map[string]bool{ // why: beside each
		"Trace xray:PutTraceSegments": true, "Trace xray:PutTelemetryRecords": true,
	}
	for _, a := range []string{"CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"} {
		everywhere["JoinNetwork ec2:"+a] = true
	}
	for _, machine := range []string{"StateMachineRole", "ProbeRole"} {
		for _, a := range []string{"logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy",
			"logs:DescribeResourcePolicies", "logs:DescribeLogGroups", "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"} {
			everywhere[machine+" "+a] = true
		}
	}
	met := map[string]bool{}
	for path, d := range templates(t) {
		for name, r := range d.Resources {
			if r.Type != "AWS::IAM::Role" {
				continue
			}
			var bounded role
			decode(t, r.Properties, &bounded)
			if !slices.Equal(bounded.PermissionsBoundary, []string{"HasBoundary", "PermissionsBoundary", "AWS::NoValue"}) {
				t.Errorf("%s: %s: its boundary is %v", path, name, bounded.PermissionsBoundary)
			}
		}
		for _, st := range d.statements(t) {
			if st.Effect != "Allow" || !slices.Contains(texts(st.Resource), "*") || d.Resources[st.From].Type == "AWS::KMS::Key" { // a key's policy is about the key
				continue
			}
			for _, a := range texts(st.Action) {
				at := st.From + " " + a
				met[at] = true
				bounded := a == "cloudwatch:PutMetricData" && st.Condition["StringEquals"]["cloudwatch:namespace"] == "FallbackChain"
				if !everywhere[at] && !bounded {
					t.Errorf("%s: %s is allowed everywhere", path, at)
				}
			}
		}
	}
	for at := range everywhere {
		if !met[at] {
			t.Errorf("%s is no longer allowed everywhere: expected it to leave this list", at)
		}
	}
	d := read(t)
	taken := map[string]string{}
	for name := range d.functions(t) {
		var f struct{ Role string }
		decode(t, d.Resources[name].Properties, &f)
		if other := taken[f.Role]; other != "" {
			t.Errorf("%s and %s share %s", name, other, f.Role)
		}
		taken[f.Role] = name
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
		if n := len(d.role(t, name).ManagedPolicyArns); n > 10 {
			t.Errorf("%s has %d managed policies: expected 10 at most, an account's quota", name, n)
		}
	}
}

// TestFunctionsAreKept: each function writes JSON into a log of its own that is kept and encrypted as the others, and nothing else writes
// there; those that events invoke have the dead letters; those that speak to clusters, and no others, are in the VPC.
func TestFunctionsAreKept(t *testing.T) {
	d := read(t)
	for name := range d.functions(t) {
		base := strings.TrimSuffix(name, "Function")
		var f struct {
			Role            string
			LoggingConfig   struct{ LogFormat, LogGroup string }
			DeadLetterQueue struct{ TargetArn string }
			VpcConfig       []any
		}
		decode(t, d.Resources[name].Properties, &f)
		if f.LoggingConfig.LogFormat != "JSON" || f.LoggingConfig.LogGroup != base+"Logs" {
			t.Errorf("%s logs %+v: expected JSON into %sLogs", name, f.LoggingConfig, base)
		}
		var logs struct {
			LogGroupName, RetentionInDays string
			KmsKeyID                      []string
		}
		decode(t, d.Resources[base+"Logs"].Properties, &logs)
		if logs.LogGroupName != "/aws/lambda/${AWS::StackName}/"+strings.ToLower(base) || logs.RetentionInDays != "LogRetentionDays" || !slices.Equal(logs.KmsKeyID, []string{"HasKey", "KmsKeyArn", "AWS::NoValue"}) {
			t.Errorf("%sLogs: %+v", base, logs)
		}
		var writes []string
		for _, st := range d.statements(t) {
			if st.From+".Arn" == f.Role && slices.Contains(texts(st.Action), "logs:PutLogEvents") {
				writes = append(writes, texts(st.Resource)...)
			}
		}
		if !slices.Equal(writes, []string{base + "Logs.Arn"}) {
			t.Errorf("%s may write to %v", name, writes)
		}
		async := slices.Contains([]string{"Intake", "Janitor", "Seal"}, base)
		if got := f.DeadLetterQueue.TargetArn == "DeadLetters.Arn"; got != async {
			t.Errorf("%s: dead letters %t, expected %t", name, got, async)
		}
		clusters := slices.Contains(d.policies(t, name), "ReadClusters")
		if joins := slices.Contains(d.policies(t, name), "JoinNetwork if HasVpc"); (f.VpcConfig != nil) != clusters || joins != clusters {
			t.Errorf("%s: in the VPC %t, may join it %t; it speaks to clusters %t", name, f.VpcConfig != nil, joins, clusters)
		}
	}
}

// TestDeadLettersTakeTheirRules: a queue takes letters from the rules that name it, each by its ARN, which no long name of a stack
// changes, and from no others; the topic is told by the rules that name it.
func TestDeadLettersTakeTheirRules(t *testing.T) {
	rules := 0
	for path, d := range templates(t) {
		want := map[string][]string{} // by the target's policy
		for name, r := range d.Resources {
			if r.Type != "AWS::Events::Rule" {
				continue
			}
			rules++
			at := name + ".Arn"
			if r.Condition != "" && d.Resources["DeadLetters"].Condition != r.Condition { // [condition, ARN, AWS::NoValue], an !If
				at = r.Condition + " " + at + " AWS::NoValue"
			}
			var has struct {
				Targets []struct {
					Arn              string
					DeadLetterConfig struct{ Arn string }
				}
			}
			decode(t, r.Properties, &has)
			for _, target := range has.Targets {
				if target.DeadLetterConfig.Arn != "DeadLetters.Arn" {
					t.Errorf("%s: %s: a target's dead letters are %q: expected DeadLetters.Arn", path, name, target.DeadLetterConfig.Arn)
				}
				if want["DeadLettersPolicy"] = append(want["DeadLettersPolicy"], at); target.Arn == "Attention" {
					want["AttentionPolicy"] = append(want["AttentionPolicy"], at)
				}
			}
		}
		for policy, of := range want {
			var got []string
			for _, st := range d.statements(t) {
				if service, _ := st.Principal.(map[string]any); st.From != policy || service["Service"] != "events.amazonaws.com" {
					continue
				}
				sources := st.Condition["ArnEquals"]["aws:SourceArn"]
				if one, ok := sources.(string); ok {
					sources = []any{one}
				}
				list, _ := sources.([]any)
				for _, source := range list {
					got = append(got, strings.Join(texts(source), " "))
				}
			}
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(of))) {
				t.Errorf("%s: %s lets in %v: expected %v", path, policy, got, of)
			}
		}
	}
	if rules < 6 {
		t.Errorf("%d rules", rules)
	}
	for _, st := range templates(t)["infra/aws/key.yaml"].statements(t) {
		if st.Sid == "EventsToQueue" && !reflect.DeepEqual(st.Condition, map[string]map[string]any{"ArnLike": {"aws:SourceArn": "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/*"}}) {
			t.Errorf("the key lets in %v: expected the account's rules of this Region, whatever they are called", st.Condition)
		}
	}
}

// TestTheKeyOpensTheLogs: what key.yaml lets CloudWatch Logs close are the log groups that may be given the key, where the stacks are
// called as the parameters say.
func TestTheKeyOpensTheLogs(t *testing.T) {
	all := templates(t)
	var patterns []string
	for _, st := range all["infra/aws/key.yaml"].statements(t) {
		if st.Sid == "Logs" {
			patterns = texts(st.Condition["ArnLike"]["kms:EncryptionContext:aws:logs:arn"])
		}
	}
	probe := regexp.MustCompile(`must begin with the chain's, such as ([a-z-]+)\.`)
	var parameters map[string]struct{ Description string }
	decode(t, all["infra/aws/probe.yaml"].Parameters, &parameters)
	named := probe.FindStringSubmatch(parameters["KmsKeyArn"].Description)
	if named == nil {
		t.Fatalf("probe.yaml's KmsKeyArn: %q: expected what the stack must be called", parameters["KmsKeyArn"].Description)
	}
	logs := 0
	for template, name := range map[string]string{"template.yaml": "fallback-chain", "infra/aws/probe.yaml": named[1]} {
		for logical, r := range all[template].Resources {
			if r.Type != "AWS::Logs::LogGroup" {
				continue
			}
			logs++
			var group struct{ LogGroupName string }
			decode(t, r.Properties, &group)
			arn := "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:" + strings.ReplaceAll(group.LogGroupName, "${AWS::StackName}", name)
			if !slices.ContainsFunc(patterns, func(p string) bool {
				begins, ok := strings.CutSuffix(strings.ReplaceAll(p, "${ChainStackName}", "fallback-chain"), "*")
				return ok && strings.HasPrefix(arn, begins)
			}) {
				t.Errorf("%s: %s is %s: expected one of %v", template, logical, arn, patterns)
			}
		}
	}
	if logs < 19 {
		t.Errorf("%d log groups", logs)
	}
}

// TestClustersLetTheFunctionsIn: with the cluster's security group given, the functions' reach its API endpoint.
func TestClustersLetTheFunctionsIn(t *testing.T) {
	r := templates(t)["infra/aws/endpoints.yaml"].Resources["ClusterIngress"]
	var in struct {
		GroupID, SourceSecurityGroupID, IPProtocol string
		FromPort, ToPort                           int
	}
	decode(t, r.Properties, &in)
	if r.Type != "AWS::EC2::SecurityGroupIngress" || r.Condition != "HasCluster" || in.GroupID != "ClusterSecurityGroupId" || in.SourceSecurityGroupID != "FunctionSecurityGroupId" ||
		in.IPProtocol != "tcp" || in.FromPort != 443 || in.ToPort != 443 {
		t.Errorf("%+v of %+v", in, r)
	}
}
