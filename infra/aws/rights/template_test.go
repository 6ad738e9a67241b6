package rights

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const small = `
Parameters:
  Name: {Default: ""}
  Size: {Default: 0}
Conditions:
  HasName: !Not [!Equals [!Ref Name, ""]]
  Both: !And [!Condition HasName, !Not [!Equals [!Ref Size, 0]]]
Globals:
  Function:
    Timeout: 60
    Environment: {Variables: {BUCKET: !Ref Store}}
Resources:
  Store: {Type: AWS::S3::Bucket}
  Read:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement:
          - {Effect: Allow, Action: s3:GetObject, Resource: !Sub "${Store.Arn}/*"}
          - !If
            - Both
            - {Effect: Allow, Action: [s3:ListBucket], Resource: !Sub "arn:${AWS::Partition}:s3:::${Name}"}
            - !Ref AWS::NoValue
  WorkRole:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [!Ref Read, !If [HasName, !Ref Read, !Ref AWS::NoValue]]
      Policies:
        - PolicyName: own
          PolicyDocument: {Statement: [{Effect: Allow, Action: sqs:SendMessage, Resource: !GetAtt Dead.Arn}]}
  Dead: {Type: AWS::SQS::Queue}
  WorkFunction:
    Type: AWS::Serverless::Function
    Properties:
      Role: !GetAtt WorkRole.Arn
      ReservedConcurrentExecutions: 3
      Environment: {Variables: {OTHER: !Ref OtherFunction.Version, JOINED: !Join ["-", [a, !Ref AWS::Region]]}}
  OtherFunction:
    Type: AWS::Serverless::Function
    Condition: HasName
    Properties: {Timeout: 5, Policies: [!Ref Read]}
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties: {DefinitionSubstitutions: {WorkArn: !Ref WorkFunction.Alias}}
`

func TestLoad(t *testing.T) {
	d := Deployment{Account: "123456789012", Region: "eu-central-1", Stack: "s", Names: map[string]string{"Store": "store"}}
	load := func(parameters map[string]string) (*Stack, []Function) {
		t.Helper()
		d.Parameters = parameters
		s, err := Load([]byte(small), d)
		if err != nil {
			t.Fatal(err)
		}
		fs, err := s.Functions()
		if err != nil {
			t.Fatal(err)
		}
		return s, fs
	}
	s, fs := load(nil)
	if len(fs) != 1 {
		t.Fatalf("%+v: expected WorkFunction alone", fs)
	}
	f := fs[0]
	if f.Name != "s-WorkFunction" || f.Short() != "work" || f.Timeout != time.Minute || f.Reserved != 3 || f.Role != "arn:aws:iam::123456789012:role/s-WorkRole" {
		t.Errorf("%+v", f)
	}
	want := map[string]string{"BUCKET": "store", "OTHER": "arn:aws:lambda:eu-central-1:123456789012:function:s-OtherFunction:1", "JOINED": "a-eu-central-1"}
	if !reflect.DeepEqual(f.Environment, want) {
		t.Errorf("environment %v, want %v", f.Environment, want)
	}
	if got := Granted(fs); len(got) != 2 || got[0].String() != "work s3:GetObject arn:aws:s3:::store/*" || got[1].String() != "work sqs:SendMessage arn:aws:sqs:eu-central-1:123456789012:s-Dead" {
		t.Errorf("granted %v", got)
	}
	if got := s.Substitutions()["WorkArn"]; got != "arn:aws:lambda:eu-central-1:123456789012:function:s-WorkFunction:live" {
		t.Errorf("WorkArn is %s", got)
	}

	_, fs = load(map[string]string{"Name": "named", "Size": "1"})
	if len(fs) != 2 || fs[0].Logical != "OtherFunction" || fs[0].Timeout != 5*time.Second || fs[0].Role != "arn:aws:iam::123456789012:role/s-OtherFunctionRole" {
		t.Fatalf("%+v", fs)
	}
	if got := Granted(fs[:1]); len(got) != 2 || got[1].String() != "other s3:ListBucket arn:aws:s3:::named" {
		t.Errorf("granted %v", got)
	}
}

// TestLoadRefuses: what cannot be read as rights is no right that was overlooked.
func TestFindInMap(t *testing.T) {
	const mapped = `
Mappings: {Console: {aws: {Domain: console.aws.amazon.com}}}
Resources:
  Topic: {Type: "AWS::SNS::Topic", Properties: {DisplayName: !Sub ["at ${D}", {D: !FindInMap [Console, !Ref "AWS::Partition", Domain]}]}}
`
	s, err := Load([]byte(mapped), Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Properties("Topic")["DisplayName"]; got != "at console.aws.amazon.com" {
		t.Errorf("it is resolved to %v", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	d := Deployment{Account: "123456789012", Region: "eu-central-1", Stack: "s"}
	for name, c := range map[string]struct{ from, to, want string }{
		"no YAML":                  {"Parameters:", "Parameters: [", "yaml"},
		"no mapping":               {small, "[]", "no mapping"},
		"a deny":                   {"{Effect: Allow, Action: s3:GetObject", "{Effect: Deny, Action: s3:GetObject", "not an Allow"},
		"everything but an action": {"Action: s3:GetObject", "NotAction: s3:GetObject", "not an Allow"},
		"a policy of AWS's own":    {"[!Ref Read, ", "[arn:aws:iam::aws:policy/AdministratorAccess, ", "AdministratorAccess"},
		"a timeout in words":       {"Timeout: 60", "Timeout: long", "Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load([]byte(strings.Replace(small, c.from, c.to, 1)), d)
			if err == nil {
				_, err = s.Functions()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	d.Parameters = map[string]string{"Nothing": "x"}
	if _, err := Load([]byte(small), d); err == nil {
		t.Error("a parameter that there is not was taken")
	}
}
