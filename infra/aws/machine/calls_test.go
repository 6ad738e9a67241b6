package machine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// call calls a service of moto's that the module has no client of, and returns the body of its answer.
func (b *bed) call(method, service, at, path, contentType, target string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.cloud.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	// Moto asks for the service and the Region, not for the signature.
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=id/20261120/"+at+"/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s: %s %s", service, res.Status, said)
	}
	return said, err
}

// query calls a service by the query protocol.
func (b *bed) query(service, version, at, action string, form url.Values) ([]byte, error) {
	form.Set("Action", action)
	form.Set("Version", version)
	return b.call(http.MethodPost, service, at, "/", "application/x-www-form-urlencoded", "", []byte(form.Encode()))
}

// json calls a service by the JSON protocol, and decodes its answer.
func (b *bed) json(t *testing.T, service, prefix, at, operation string, in map[string]any, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	said, err := b.call(http.MethodPost, service, at, "/", "application/x-amz-json-1.0", prefix+"."+operation, body)
	if err == nil {
		err = json.Unmarshal(said, out)
	}
	if err != nil {
		t.Fatalf("%s: %v", operation, err)
	}
}
