package awstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// functionVariable makes the test binary a function.
const functionVariable = "AWSTEST_FUNCTION"

// TestFunctionProcess is the function that TestHost runs; by itself it tests nothing.
func TestFunctionProcess(t *testing.T) {
	if os.Getenv(functionVariable) == "" {
		return
	}
	n := 0
	lambda.Start(func(ctx context.Context, in map[string]string) (any, error) {
		n++
		switch in["do"] {
		case "count":
			return map[string]any{"n": n, "name": os.Getenv("AWS_LAMBDA_FUNCTION_NAME")}, nil
		case "fail":
			return nil, errors.New("as it was told")
		case "exit":
			os.Exit(1)
		case "hang":
			select {}
		}
		d, ok := ctx.Deadline()
		return ok && time.Until(d) < time.Minute, nil
	})
}

// function is a program that runs this binary as a function.
func function(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\nexec %q -test.run '^TestFunctionProcess$'\n", os.Args[0]), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHost(t *testing.T) {
	h := NewHost(t)
	mishap := None
	h.Decide = func(string, []byte) Mishap { m := mishap; mishap = None; return m }
	program := function(t)
	h.Add(Function{Name: "stack-Work", Program: program, Env: []string{functionVariable + "=1"}, Timeout: 30 * time.Second})
	h.Add(Function{Name: "stack-Slow", Program: program, Env: []string{functionVariable + "=1"}, Timeout: 2 * time.Second, Reserved: 1})
	const work = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Astack-Work%3A7"
	call := func(function, kind, do string) (int, http.Header, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/2015-03-31/functions/"+function+"/invocations", strings.NewReader(`{"do":"`+do+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Invocation-Type", kind)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body json.RawMessage
		_ = json.NewDecoder(res.Body).Decode(&body)
		return res.StatusCode, res.Header, string(body)
	}
	for _, c := range []struct {
		name, function, do string
		mishap             Mishap
		code               int
		failed             string
		want               string
	}{
		{name: "a first one", function: work, do: "count", code: 200, want: `{"n":1,"name":"stack-Work"}`},
		{name: "the process is warm", function: "stack-Work:live", do: "count", code: 200, want: `"n":2`},
		{name: "it has a deadline", function: "stack-Work", do: "deadline", code: 200, want: `true`},
		{name: "its error", function: work, do: "fail", code: 200, failed: "Unhandled", want: `"errorMessage":"as it was told"`},
		{name: "throttled", function: work, do: "count", mishap: Throttled, code: 429, want: "Rate Exceeded"},
		{name: "and it saw nothing of that", function: work, do: "count", code: 200, want: `"n":5`},
		{name: "killed", function: work, do: "hang", mishap: Killed, code: 200, failed: "Unhandled", want: `"errorType":"Runtime.ExitError"`},
		{name: "a new process", function: work, do: "count", code: 200, want: `"n":1`},
		{name: "the answer is lost", function: work, do: "count", mishap: Lost, code: 200, failed: "Unhandled", want: `"errorType":"Runtime.ExitError"`},
		{name: "it ends itself", function: work, do: "exit", code: 200, failed: "Unhandled", want: `"errorType":"Runtime.ExitError"`},
		{name: "it takes too long", function: "stack-Slow", do: "hang", code: 200, failed: "Unhandled", want: `"errorType":"Sandbox.Timedout"`},
		{name: "and is there again", function: "stack-Slow", do: "count", code: 200, want: `"n":1`},
		{name: "nothing of that name", function: "stack-Other", do: "count", code: 404, want: ""},
	} {
		mishap = c.mishap
		code, header, body := call(c.function, "RequestResponse", c.do)
		if code != c.code || header.Get("X-Amz-Function-Error") != c.failed || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %q %s, want %d %q %s", c.name, code, header.Get("X-Amz-Function-Error"), body, c.code, c.failed, c.want)
		}
	}
	before := len(h.Calls())
	for range 2 {
		if code, _, _ := call("stack-Slow", "Event", "count"); code != http.StatusAccepted {
			t.Errorf("an event is answered %d", code)
		}
	}
	h.Quiet()
	calls := h.Calls()[before:]
	if len(calls) != 2 || string(calls[1].Answer) != `{"n":3,"name":"stack-Slow"}` {
		t.Errorf("one process at a time: %+v", calls)
	}
	if _, _, err := h.Invoke("stack-Other", nil); err == nil {
		t.Error("a function that there is not was invoked")
	}
}
