package rights

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func signed(method, url, service, target, body string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1"+url, strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=ASIAKEY/20261120/eu-central-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	return r
}

func TestRead(t *testing.T) {
	const account = "123456789012"
	for _, c := range []struct {
		name, method, url, service, target, body string
		want                                     string // empty: refused
	}{
		{name: "an object", method: "GET", url: "/plans/plans/shop.yaml?x-id=GetObject", service: "s3", want: "s3:GetObject arn:aws:s3:::plans/plans/shop.yaml"},
		{name: "is it there", method: "HEAD", url: "/plans/plans/shop.yaml", service: "s3", want: "s3:GetObject arn:aws:s3:::plans/plans/shop.yaml"},
		{name: "a version", method: "GET", url: "/velero/b/x?versionId=3", service: "s3", want: "s3:GetObjectVersion arn:aws:s3:::velero/b/x"},
		{name: "a listing", method: "GET", url: "/plans?list-type=2&prefix=a%2F", service: "s3", want: "s3:ListBucket arn:aws:s3:::plans"},
		{name: "versions", method: "GET", url: "/velero?versions&prefix=b", service: "s3", want: "s3:ListBucketVersions arn:aws:s3:::velero"},
		{name: "a write", method: "PUT", url: "/journals/runs/x/journal/1.json", service: "s3", want: "s3:PutObject arn:aws:s3:::journals/runs/x/journal/1.json"},
		{name: "a removal", method: "DELETE", url: "/journals/x", service: "s3", want: "s3:DeleteObject arn:aws:s3:::journals/x"},
		{name: "an ACL", method: "GET", url: "/journals/x?acl", service: "s3"},
		{name: "a bucket's policy", method: "GET", url: "/journals?policy", service: "s3"},
		{name: "a new bucket", method: "PUT", url: "/journals", service: "s3"},
		{name: "a cluster", method: "GET", url: "/clusters/main", service: "eks", want: "eks:DescribeCluster arn:aws:eks:eu-central-1:123456789012:cluster/main"},
		{name: "another of EKS", method: "GET", url: "/clusters/main/addons", service: "eks"},
		{name: "a function", method: "POST", url: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aj%3Alive/invocations", service: "lambda",
			want: "lambda:InvokeFunction arn:aws:lambda:eu-central-1:123456789012:function:j:live"},
		{name: "a start", method: "POST", url: "/", service: "states", target: "AWSStepFunctions.StartExecution", body: `{"stateMachineArn":"arn:m"}`, want: "states:StartExecution arn:m"},
		{name: "a history", method: "POST", url: "/", service: "states", target: "AWSStepFunctions.GetExecutionHistory", body: `{"executionArn":"arn:x"}`, want: "states:GetExecutionHistory arn:x"},
		{name: "a secret", method: "POST", url: "/", service: "secretsmanager", target: "secretsmanager.GetSecretValue", body: `{"SecretId":"arn:s"}`, want: "secretsmanager:GetSecretValue arn:s"},
		{name: "a signature", method: "POST", url: "/", service: "kms", target: "TrentService.Sign", body: `{"KeyId":"arn:k"}`, want: "kms:Sign arn:k"},
		{name: "alarms", method: "POST", url: "/service/GraniteServiceVersion20100801/operation/DescribeAlarms", service: "monitoring", want: "cloudwatch:DescribeAlarms arn:aws:cloudwatch:eu-central-1:123456789012:alarm:*"},
		{name: "a message", method: "POST", url: "/", service: "sns", body: "Action=Publish&TopicArn=arn%3At", want: "sns:Publish arn:t"},
		{name: "a service nobody knows", method: "POST", url: "/", service: "dynamodb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Read(signed(c.method, c.url, c.service, c.target, c.body), []byte(c.body), account)
			if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
				t.Errorf("%s, %v; want %q", got, err, c.want)
			}
		})
	}
	if _, err := Read(httptest.NewRequest(http.MethodGet, "/x", http.NoBody), nil, account); err == nil {
		t.Error("a call that is not signed was read")
	}
}

// TestAllowing: what a statement allows, with IAM's wildcards and the conditions that a call decides itself.
func TestAllowing(t *testing.T) {
	f := Function{Logical: "SealFunction", Statements: []Statement{
		{Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::b/backups/*"}},
		{Actions: []string{"s3:ListBucket"}, Resources: []string{"arn:aws:s3:::b"}, Condition: map[string]any{"StringLike": map[string]any{"s3:prefix": "backups/*"}}},
		{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::b/*/m.json"}, Condition: map[string]any{"Null": map[string]any{"s3:if-none-match": "false"}}},
		{Actions: []string{"kms:Sign"}, Resources: []string{"arn:k?"}, Condition: map[string]any{"StringEquals": map[string]any{"kms:SigningAlgorithm": "ECDSA_SHA_256"}}},
		{Actions: []string{"kms:Decrypt"}, Resources: []string{"*"}, Condition: map[string]any{"StringLike": map[string]any{"kms:ViaService": "s3.*"}}},
	}}
	for _, c := range []struct {
		call Call
		want bool
	}{
		{Call{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/backups/x/y"}, true},
		{Call{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/restores/x"}, false},
		{Call{Action: "s3:GetObject", Resource: "arn:aws:s3:::bb/backups/x"}, false},
		{Call{Action: "s3:GetObjectVersion", Resource: "arn:aws:s3:::b/backups/x"}, false},
		{Call{Action: "s3:ListBucket", Resource: "arn:aws:s3:::b", Prefix: "backups/x"}, true},
		{Call{Action: "s3:ListBucket", Resource: "arn:aws:s3:::b"}, false},
		{Call{Action: "s3:PutObject", Resource: "arn:aws:s3:::b/x/m.json", NoOverwrite: true}, true},
		{Call{Action: "s3:PutObject", Resource: "arn:aws:s3:::b/x/m.json"}, false},
		{Call{Action: "kms:Sign", Resource: "arn:k1", Algorithm: "ECDSA_SHA_256"}, true},
		{Call{Action: "kms:Sign", Resource: "arn:k12", Algorithm: "ECDSA_SHA_256"}, false},
		{Call{Action: "kms:Sign", Resource: "arn:k1", Algorithm: "ECDSA_SHA_384"}, false},
		{Call{Action: "kms:Decrypt", Resource: "arn:k1"}, false},
	} {
		used, refused := Used([]Function{f}, map[string][]Call{"seal": {c.call}})
		if (len(used) == 1) != c.want || (len(refused) == 0) != c.want {
			t.Errorf("%s: allowed by %v, want %t", c.call, used, c.want)
		}
	}
}

func FuzzParseRight(f *testing.F) {
	f.Add("assess s3:GetObject arn:aws:s3:::plans/*")
	f.Add("x")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := ParseRight(line)
		if err != nil {
			return
		}
		if again, err := ParseRight(r.String()); err != nil || again != r {
			t.Errorf("%q: %v, %v", line, again, err)
		}
	})
}
