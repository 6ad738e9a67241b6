package aws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// transformed is what CloudFormation gets: the template after the serverless transform.
func transformed(t *testing.T) []byte {
	t.Helper()
	python := judge(t, "judges", "sam", "bin", "python")
	transform.Do(func() {
		var said bytes.Buffer
		cmd := exec.Command(python, "transform.py", filepath.Join(root, "template.yaml"))
		cmd.Stderr = &said
		if template, failed = cmd.Output(); failed != nil {
			failed = fmt.Errorf("%w\n%s", failed, &said)
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	return template
}

// The template is transformed once for all tests: it takes a second or more of computing.
var (
	transform sync.Once
	template  []byte
	failed    error
)

// stack is a transformed template, and what CloudFormation makes of it with some values of its parameters.
type stack struct {
	t          *testing.T
	parameters map[string]any    // a text, or a list of texts
	naming     map[string][]byte // by type, the properties that cannot change without another physical name
	Conditions map[string]any
	Parameters map[string]struct {
		Type, Description string
		Default           any
		MaxLength         int
	}
	Resources map[string]struct {
		Type, Condition, DeletionPolicy, UpdateReplacePolicy string
		Properties                                           map[string]any
	}
}

type absent struct{}

// with are the parameters' defaults but for the values given; a list's are separated by commas.
func (s stack) with(values map[string]string) stack {
	s.parameters = map[string]any{}
	for name, p := range s.Parameters {
		v := fmt.Sprint(p.Default)
		if given, ok := values[name]; ok {
			v = given
		}
		if s.parameters[name] = v; p.Type == "CommaDelimitedList" {
			list := []any{}
			for _, e := range strings.Split(v, ",") {
				list = append(list, e)
			}
			s.parameters[name] = list
		}
	}
	return s
}

func (s stack) value(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, e := range v {
			if r := s.value(e); r != (absent{}) {
				out = append(out, r)
			}
		}
		return out
	case map[string]any:
		for name, arg := range v {
			if len(v) == 1 && (name == "Ref" || strings.HasPrefix(name, "Fn::")) {
				return s.call(name, arg)
			}
		}
		out := map[string]any{}
		for k, e := range v {
			if r := s.value(e); r != (absent{}) {
				out[k] = r
			}
		}
		return out
	}
	return v
}

var variable = regexp.MustCompile(`\$\{([^!}]+)\}`)

// call is a function of CloudFormation's. What it does not know fails the test.
func (s stack) call(name string, arg any) any {
	list, _ := arg.([]any)
	switch name {
	case "Ref":
		return s.ref(arg.(string))
	case "Fn::GetAtt":
		return s.physical(list[0].(string)) + "." + list[1].(string)
	case "Fn::If":
		if s.truth(list[0]) {
			return s.value(list[1])
		}
		return s.value(list[2])
	case "Fn::Join":
		var parts []string
		for _, e := range s.value(list[1]).([]any) {
			parts = append(parts, e.(string))
		}
		return strings.Join(parts, list[0].(string))
	case "Fn::Split":
		out := []any{}
		for _, e := range strings.Split(s.value(list[1]).(string), list[0].(string)) {
			out = append(out, e)
		}
		return out
	case "Fn::Select":
		return s.value(list[1]).([]any)[int(list[0].(float64))]
	case "Fn::Sub":
		text, own := arg, map[string]any{}
		if list != nil {
			text, own = list[0], list[1].(map[string]any)
		}
		return variable.ReplaceAllStringFunc(text.(string), func(m string) string {
			at := variable.FindStringSubmatch(m)[1]
			if v, ok := own[at]; ok {
				return s.value(v).(string)
			}
			if resource, attribute, ok := strings.Cut(at, "."); ok {
				return s.physical(resource) + "." + attribute
			}
			return s.ref(at).(string)
		})
	}
	s.t.Fatalf("the test does not know %s", name)
	return nil
}

func (s stack) ref(name string) any {
	if name == "AWS::NoValue" {
		return absent{}
	}
	if strings.HasPrefix(name, "AWS::") {
		return name
	}
	if v, ok := s.parameters[name]; ok {
		return v
	}
	return s.physical(name)
}

// physical is a resource's name: another one when a property that names it has another value.
func (s stack) physical(name string) string {
	r, ok := s.Resources[name]
	if !ok {
		s.t.Fatalf("there is no resource %s", name)
	}
	var naming []string
	decode(s.t, s.naming[r.Type], &naming)
	by := map[string]any{}
	for _, p := range naming {
		if v, ok := r.Properties[strings.TrimPrefix(p, "/properties/")]; ok {
			by[p] = s.value(v)
		}
	}
	return fmt.Sprintf("%s%v", name, by)
}

func (s stack) truth(v any) bool {
	if name, ok := v.(string); ok {
		return s.truth(s.Conditions[name])
	}
	for name, arg := range v.(map[string]any) {
		if name == "Condition" {
			return s.truth(arg)
		}
		list := arg.([]any)
		switch name {
		case "Fn::Equals":
			return fmt.Sprint(s.value(list[0])) == fmt.Sprint(s.value(list[1]))
		case "Fn::Not":
			return !s.truth(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(e any) bool { return !s.truth(e) })
		case "Fn::Or":
			return slices.ContainsFunc(list, s.truth)
		}
		s.t.Fatalf("the test does not know %s", name)
	}
	return false
}

// loaded reads the transformed template, and from CloudFormation's own schemas, which cfn-lint brings, what names a resource.
func loaded(t *testing.T) stack {
	t.Helper()
	s := stack{t: t, naming: map[string][]byte{}}
	decode(t, transformed(t), &s)
	types := map[string]bool{}
	for _, r := range s.Resources {
		types[r.Type] = true
	}
	cmd := exec.CommandContext(t.Context(), judge(t, "judges", "venv", "bin", "python"), append([]string{"-c", `import json, sys
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
print(json.dumps({t: PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-central-1", t).schema.get("createOnlyProperties", []) for t in sys.argv[1:]}))`},
		slices.Sorted(maps.Keys(types))...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var naming map[string]json.RawMessage
	decode(t, out, &naming)
	for of, list := range naming {
		s.naming[of] = list
	}
	if !bytes.Contains(s.naming["AWS::S3::Bucket"], []byte("BucketName")) {
		t.Fatalf("the schemas say that a bucket is named by %s", s.naming["AWS::S3::Bucket"])
	}
	return s
}

// publication is a version: what Lambda keeps of the function's configuration, and how the version is described.
type publication struct{ configuration, description string }

// publications are the versions that there are, by function.
func (s stack) publications() map[string]publication {
	out := map[string]publication{}
	for _, r := range s.Resources {
		if r.Type != "AWS::Lambda::Version" || r.Condition != "" && !s.truth(r.Condition) {
			continue
		}
		name := r.Properties["FunctionName"].(map[string]any)["Ref"].(string)
		properties := maps.Clone(s.Resources[name].Properties)
		// What is reserved is the function's and no version's; the description repeats the version's.
		delete(properties, "ReservedConcurrentExecutions")
		delete(properties, "Description")
		text, err := json.Marshal(s.value(properties))
		if err != nil {
			s.t.Fatal(err)
		}
		description, _ := s.value(r.Properties["Description"]).(string)
		out[name] = publication{string(text), description}
	}
	return out
}

// TestAParameterPublishesVersions: a deployment that changes one parameter gives a version another description where the function's
// configuration changes, and nowhere else.
func TestAParameterPublishesVersions(t *testing.T) {
	s := loaded(t)
	const key = "arn:aws:kms:eu-central-1:123456789012:key/"
	values := map[string][]string{
		"KmsKeyArn": {key + "1234abcd-12ab-34cd-56ef-1234567890ab", key + "mrk-1234abcd12ab34cd56ef1234567890ab"},
		// The same key of another Region, too.
		"ManifestKeyArn":      {key + "mrk-1", key + "mrk-2", "arn:aws:kms:us-east-1:123456789012:key/mrk-1"},
		"VpcSubnetIds":        {"subnet-0a,subnet-0b", "subnet-0a", "subnet-0b,subnet-0a"},
		"VpcSecurityGroupIds": {"sg-0a", "sg-0a,sg-0b", "sg-0b"},
		"VeleroBucketName":    {"velero", "velero-eu"},
		"VeleroPrefix":        {"eu", "eu/main"},
	}
	all := map[string]string{}
	for name := range s.Parameters {
		if values[name] == nil {
			values[name] = []string{name + "-1", name + "-2"}
		}
		all[name] = values[name][0]
	}
	depends := map[string]map[string]bool{}
	for _, base := range []map[string]string{{}, all} {
		before := s.with(base).publications()
		for parameter, list := range values {
			for _, v := range append([]string{fmt.Sprint(s.Parameters[parameter].Default)}, list...) {
				changed := maps.Clone(base)
				changed[parameter] = v
				after := s.with(changed).publications()
				for function, is := range after {
					was, ok := before[function]
					if !ok { // it was not there
						continue
					}
					if depends[function] == nil {
						depends[function] = map[string]bool{}
					}
					depends[function][parameter] = depends[function][parameter] || was.configuration != is.configuration
					if (was.configuration != is.configuration) != (was.description != is.description) {
						t.Errorf("%s=%s: the configuration of %s changes %t, its version's description %t: expected both or neither\n%s\n%s", parameter, v, function,
							was.configuration != is.configuration, was.description != is.description, was.description, is.description)
					}
				}
			}
		}
	}
	for function, want := range map[string][]string{
		"AdmitFunction": {"KmsKeyArn"}, "AssessFunction": {"KmsKeyArn", "VpcSecurityGroupIds", "VpcSubnetIds"}, "JanitorFunction": {"KmsKeyArn", "VpcSecurityGroupIds", "VpcSubnetIds"},
		"SealFunction": {"KmsKeyArn", "ManifestKeyArn", "VeleroBucketName", "VeleroPrefix"},
	} {
		var got []string
		for p, on := range depends[function] {
			if on {
				got = append(got, p)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s depends on %v: expected %v", function, got, want)
		}
	}
	if len(depends) < 17 {
		t.Errorf("%d functions were looked at", len(depends))
	}
}

// TestVersionsAreKept: a version that leaves the template, or is replaced in it, is not deleted, and what describes it is part of the
// function, so that Lambda never finds it published already.
func TestVersionsAreKept(t *testing.T) {
	s := loaded(t)
	versions := 0
	for name, r := range s.Resources {
		if r.Type != "AWS::Lambda::Version" {
			continue
		}
		versions++
		if r.DeletionPolicy != "Retain" || r.UpdateReplacePolicy != "Retain" {
			t.Errorf("%s: DeletionPolicy %q, UpdateReplacePolicy %q: expected Retain, a running execution calls it", name, r.DeletionPolicy, r.UpdateReplacePolicy)
		}
		function := s.Resources[r.Properties["FunctionName"].(map[string]any)["Ref"].(string)]
		if d := r.Properties["Description"]; d == nil || !reflect.DeepEqual(d, function.Properties["Description"]) {
			t.Errorf("%s is described as %v, its function as %v: expected the same", name, d, function.Properties["Description"])
		}
	}
	if versions < 17 {
		t.Errorf("%d versions", versions)
	}
	// What cfn-lint's W3011 would say of the others.
	for name, r := range read(t).Resources {
		if (r.DeletionPolicy == "") != (r.UpdateReplacePolicy == "") && r.Type != "AWS::Serverless::Function" {
			t.Errorf("%s: DeletionPolicy %q, UpdateReplacePolicy %q: expected both or neither", name, r.DeletionPolicy, r.UpdateReplacePolicy)
		}
	}
}

// TestDescriptionsFit: the longest values that the parameters' descriptions allow make no description that Lambda refuses
// (https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html: 256 characters), and one more would.
func TestDescriptionsFit(t *testing.T) {
	s := loaded(t)
	ids := func(prefix string, n int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("%s-%017x", prefix, i))
		}
		return strings.Join(out, ",")
	}
	longest := func(subnets int, prefix int) (most int) {
		const key = "arn:aws:kms:ap-northeast-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
		for _, p := range s.with(map[string]string{"KmsKeyArn": key, "ManifestKeyArn": key, "VeleroBucketName": strings.Repeat("b", 63), "VeleroPrefix": strings.Repeat("p", prefix),
			"VpcSubnetIds": ids("subnet", subnets), "VpcSecurityGroupIds": ids("sg", 5)}).publications() {
			most = max(most, len(p.description))
		}
		return most
	}
	prefix := s.Parameters["VeleroPrefix"].MaxLength
	if prefix < 80 || !strings.Contains(s.Parameters["VpcSubnetIds"].Description, "11 at most") {
		t.Fatalf("a prefix may have %d characters; subnets: %q", prefix, s.Parameters["VpcSubnetIds"].Description)
	}
	if most := longest(6, prefix); most > 256 {
		t.Errorf("a description has %d characters: expected 256 at most", most)
	}
	if most := longest(7, prefix); most <= 256 {
		t.Errorf("with 12 subnets and groups the longest has %d characters: expected the limit to be said as it is", most)
	}
}
