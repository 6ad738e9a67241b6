// Package awstest gives tests an AWS that nobody here wrote: moto (http://docs.getmoto.org), as `make judges` installs it.
package awstest

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Account is the account that moto answers for.
const Account = "123456789012"

// Region is that of the clients.
const Region = "us-east-1"

var running = regexp.MustCompile(`Running on (http://127\.0\.0\.1:[0-9]+)`)

// startTimeout bounds the server's life.
const startTimeout = 10 * time.Minute

// Start runs moto's server on a free port of loopback until the test ends, and returns its address. env is added to its
// environment. Without moto the test fails: a judge that is missing is no pass.
func Start(t testing.TB, env ...string) (base string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	server := filepath.Join(filepath.Dir(here), "..", "..", ".tools", "judges", "venv", "bin", "moto_server")
	if _, err := os.Stat(server); err != nil {
		t.Fatalf("moto_server is not installed: run `make judges` (statemachine/judges/setup.sh): %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	cmd := exec.CommandContext(ctx, server, "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), append([]string{"AWS_EC2_METADATA_DISABLED=true", "PYTHONUNBUFFERED=1"}, env...)...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at, drained := make(chan string, 1), make(chan struct{})
	var said strings.Builder
	go func() {
		defer close(drained)
		defer close(at)
		for s := bufio.NewScanner(log); s.Scan(); {
			if m := running.FindStringSubmatch(s.Text()); m != nil {
				at <- m[1]
			}
			if !strings.Contains(s.Text(), `" 200 -`) {
				said.WriteString(s.Text() + "\n")
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-drained
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("moto said:\n%s", said.String())
		}
	})
	base, ok := <-at
	if !ok {
		t.Fatal("moto_server ended before it listened")
	}
	return base
}

// Config reaches the server with credentials that it accepts.
func Config(base string) aws.Config {
	return aws.Config{Region: Region, BaseEndpoint: aws.String(base), Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}
}

// S3 returns a client of the server, and makes the buckets.
func S3(t testing.TB, base string, buckets ...string) *s3.Client {
	t.Helper()
	c := s3.NewFromConfig(Config(base), func(o *s3.Options) { o.UsePathStyle = true })
	for _, b := range buckets {
		if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(b)}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Execute tells moto to execute state machines instead of pretending
// (http://docs.getmoto.org/en/latest/docs/services/stepfunctions.html).
func Execute(t testing.TB, base string) {
	t.Helper()
	res, err := http.Post(base+"/moto-api/config", "application/json", strings.NewReader(`{"stepfunctions":{"execute_state_machine":true}}`)) //nolint:noctx // a test's server on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		t.Fatalf("moto's configuration: %s", res.Status)
	}
}

// Located says where a bucket is to be made; nothing for Region, which S3 refuses to be told
// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html).
func Located(region string) *types.CreateBucketConfiguration {
	if region == Region {
		return nil
	}
	return &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
}

// Accepting is a server that takes every request with 202, as Lambda does an event; it returns its address.
func Accepting(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	t.Cleanup(srv.Close)
	return srv.URL
}
