package rights

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Call is an AWS call as IAM sees it.
type Call struct {
	// Action is the one to be allowed, such as s3:GetObject; Resource the ARN it is asked for.
	Action, Resource string
	// Prefix is s3:prefix, of a listing; NoOverwrite whether s3:if-none-match is there; Algorithm is kms:SigningAlgorithm.
	Prefix      string
	NoOverwrite bool
	Algorithm   string
}

func (c Call) String() string { return c.Action + " " + c.Resource }

var scope = regexp.MustCompile(`Credential=([^/,]+)/[0-9]{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request`)

// Signer reads from a signed request whose access key it is, and for which Region and service.
func Signer(r *http.Request) (key, region, service string, ok bool) {
	m := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return "", "", "", false
	}
	return m[1], m[2], m[3], true
}

// Read tells what a signed request is. An action that this cannot name is an error: what is not known was not judged.
func Read(r *http.Request, body []byte, account string) (Call, error) {
	_, region, service, ok := Signer(r)
	if !ok {
		return Call{}, fmt.Errorf("%s %s is not signed", r.Method, r.URL.Path)
	}
	at := region + ":" + account + ":"
	var in map[string]any
	_ = json.Unmarshal(body, &in) // where it is JSON; a field that is missing makes a resource that nothing allows
	field := func(name string) string { return text(in[name]) }
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch service {
	case "s3":
		return object(r)
	case "eks":
		if name, ok := strings.CutPrefix(r.URL.Path, "/clusters/"); ok && r.Method == http.MethodGet && !strings.Contains(name, "/") {
			return Call{Action: "eks:DescribeCluster", Resource: "arn:aws:eks:" + at + "cluster/" + name}, nil
		}
	case "lambda":
		name, _ := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
		name, ok := strings.CutSuffix(name, "/invocations")
		name, err := url.PathUnescape(name)
		if ok && err == nil && r.Method == http.MethodPost {
			return Call{Action: "lambda:InvokeFunction", Resource: name}, nil
		}
	case "states":
		return states(operation, field), nil
	case "secretsmanager":
		return Call{Action: "secretsmanager:" + operation, Resource: field("SecretId")}, nil
	case "kms":
		return Call{Action: "kms:" + operation, Resource: field("KeyId"), Algorithm: field("SigningAlgorithm")}, nil
	case "monitoring":
		// Smithy RPC: the operation is in the path (https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html).
		if _, op, ok := strings.Cut(r.URL.Path, "/operation/"); ok {
			operation = op
		}
		if operation == "" {
			form, _ := url.ParseQuery(string(body))
			operation = form.Get("Action")
		}
		return Call{Action: "cloudwatch:" + operation, Resource: "arn:aws:cloudwatch:" + at + "alarm:*"}, nil
	case "sns":
		form, _ := url.ParseQuery(string(body))
		return Call{Action: "sns:" + form.Get("Action"), Resource: form.Get("TopicArn")}, nil
	}
	return Call{}, fmt.Errorf("%s %s %s: a call of %s that is not known here", r.Method, r.URL.Path, operation, service)
}

// states reads a call of Step Functions; the machine's or the execution's ARN is what it is for.
func states(operation string, field func(string) string) Call {
	c := Call{Action: "states:" + operation, Resource: field("stateMachineArn")}
	if c.Resource == "" {
		c.Resource = field("executionArn")
	}
	return c
}

// object reads a call of S3. Actions: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html.
func object(r *http.Request) (Call, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	c := Call{Resource: "arn:aws:s3:::" + bucket, Prefix: q.Get("prefix")}
	if key != "" {
		c.Resource += "/" + key
	}
	switch reads := r.Method == http.MethodGet || r.Method == http.MethodHead; {
	case bucket == "":
	case key == "" && reads && q.Has("versions"):
		c.Action = "s3:ListBucketVersions"
	case key == "" && r.Method == http.MethodGet && (q.Get("list-type") == "2" || len(q) == 0), key == "" && r.Method == http.MethodHead:
		c.Action = "s3:ListBucket"
	case key != "" && reads && q.Get("versionId") != "":
		c.Action = "s3:GetObjectVersion"
	case key != "" && reads && !q.Has("tagging") && !q.Has("acl"):
		c.Action = "s3:GetObject"
	case key != "" && r.Method == http.MethodPut && !q.Has("tagging"):
		c.Action, c.NoOverwrite = "s3:PutObject", r.Header.Get("If-None-Match") != ""
	case key != "" && r.Method == http.MethodDelete:
		c.Action = "s3:DeleteObject"
	}
	if c.Action == "" {
		return c, fmt.Errorf("%s %s: a call of S3 that is not known here", r.Method, r.URL)
	}
	return c, nil
}
