package invoke

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"fallbackchain.io/fallback/events"
)

// TestRequest sends a request through the real client to a server on loopback that answers as Lambda does.
func TestRequest(t *testing.T) {
	want := events.Janitor{RunID: "shop-drill-20261120020000-9f3c", ExecutionARN: "arn:x", Status: "TIMED_OUT"}
	for status, ok := range map[int]bool{202: true, 200: false, 404: false, 403: false} {
		var kind string
		var got events.Janitor
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kind = r.Header.Get("X-Amz-Invocation-Type")
			b, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(b, &got); err != nil {
				t.Error(err)
			}
			w.WriteHeader(status)
		}))
		client := lambda.New(lambda.Options{Region: "eu-central-1", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
		err := Janitor{Functions: client, ARN: "arn:aws:lambda:eu-central-1:123456789012:function:janitor"}.Request(t.Context(), want)
		srv.Close()
		if (err == nil) != ok {
			t.Errorf("%d: %v", status, err)
		}
		if kind != "Event" || got != want {
			t.Errorf("%d: invocation type %q, payload %+v", status, kind, got)
		}
	}
}
