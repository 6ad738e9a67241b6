package awstest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Invocation is what a function is given; Left is the time until its deadline.
type Invocation struct {
	Payload string
	Left    time.Duration
}

// Reply is what a function posted: Path is "<request>/response" or "<request>/error", the first request being request-1.
type Reply struct {
	Path string
	Body string
}

// functionTimeout bounds the life of a function under test.
const functionTimeout = time.Minute

// Runtime is the Lambda runtime API on loopback (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html): it runs the
// program as a function, hands out the invocations one by one and records the replies; when none is left it refuses, and the
// function ends. env is added to the program's environment.
func Runtime(t testing.TB, program string, env []string, invocations ...Invocation) (replies []Reply, log string) {
	t.Helper()
	given := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const base = "/2018-06-01/runtime/invocation/"
		switch {
		case r.URL.Path == base+"next" && given < len(invocations):
			i := invocations[given]
			given++
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request-"+strconv.Itoa(given))
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(i.Left).UnixMilli(), 10))
			_, _ = io.WriteString(w, i.Payload)
		case r.Method == http.MethodPost:
			b, _ := io.ReadAll(r.Body)
			replies = append(replies, Reply{strings.TrimPrefix(r.URL.Path, base), string(b)})
			w.WriteHeader(http.StatusAccepted)
		default:
			http.Error(w, "no more", http.StatusGone)
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), functionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(append(os.Environ(), env...), "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(srv.URL, "http://"))
	out, _ := cmd.CombinedOutput() // always ends with an error: nothing is left to invoke, or the process was told to go
	if ctx.Err() != nil {
		t.Fatalf("the function did not end: %s", out)
	}
	return replies, string(out)
}
