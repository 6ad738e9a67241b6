package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Function is a function that a Host runs.
type Function struct {
	// Name is the function's name, without a version or alias.
	Name string
	// Program is its bootstrap; Env is all of its environment besides what Lambda itself sets.
	Program string
	Env     []string
	Timeout time.Duration
	// Reserved bounds its concurrency; 0: nothing does.
	Reserved int
}

// Call is one invocation that a Host made.
type Call struct {
	Function string
	Payload  json.RawMessage
	// Answer is what came back, Failed whether it is an error's body.
	Answer json.RawMessage
	Failed bool
	Took   time.Duration
}

// Mishap is what becomes of an invocation.
type Mishap int

const (
	// None: the function is invoked.
	None Mishap = iota
	// Throttled: Lambda refuses with 429, and the function sees nothing of it.
	Throttled
	// Killed: the function's process is killed when it has taken the invocation, as for want of memory.
	Killed
	// Lost: the function did its work; its process is killed when it answers, and the answer is lost.
	Lost
)

// Host runs functions as Lambda does: processes that stay warm and take one invocation at a time, behind the Lambda Invoke API
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html) at URL.
type Host struct {
	URL string
	// Decide says what becomes of an invocation; nil: nothing happens to it. Set before the first.
	Decide func(function string, payload []byte) Mishap

	runtime *httptest.Server
	ctx     context.Context

	mu        sync.Mutex
	functions map[string]*hosted
	processes map[string]*instance
	calls     []Call
	// busy are the invocations under way and queued, by function; idle is told when one has ended.
	busy map[string]int
	idle *sync.Cond
	logs strings.Builder
}

type hosted struct {
	Function
	idle  []*instance
	slots chan struct{}
}

// NewHost serves until the test ends; then every process is killed, and when it failed, their logs are shown.
func NewHost(t testing.TB) *Host {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{ctx: ctx, functions: map[string]*hosted{}, processes: map[string]*instance{}, busy: map[string]int{}}
	h.idle = sync.NewCond(&h.mu)
	api := httptest.NewServer(http.HandlerFunc(h.serveInvoke))
	h.runtime = httptest.NewServer(http.HandlerFunc(h.serveRuntime))
	h.URL = api.URL
	t.Cleanup(func() {
		cancel()
		h.mu.Lock()
		all := h.processes
		h.mu.Unlock()
		for _, p := range all {
			<-p.gone
		}
		h.Quiet()
		api.Close()
		h.runtime.Close()
		if t.Failed() {
			t.Logf("the functions said:\n%s", h.Log())
		}
	})
	return h
}

// Add makes a function known. Its first process starts with the first invocation.
func (h *Host) Add(f Function) {
	h.mu.Lock()
	defer h.mu.Unlock()
	added := &hosted{Function: f}
	if f.Reserved > 0 {
		added.slots = make(chan struct{}, f.Reserved)
	}
	h.functions[f.Name] = added
}

// Calls are the invocations that have ended, in the order of their ends.
func (h *Host) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// Log is what the functions wrote.
func (h *Host) Log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.String()
}

// Quiet returns when no invocation is under way or queued, one that its invoker gave up included; but for these functions'.
func (h *Host) Quiet(except ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		n := 0
		for f, busy := range h.busy {
			if !slices.Contains(except, f) {
				n += busy
			}
		}
		if n == 0 {
			return
		}
		h.idle.Wait()
	}
}

// begins counts an invocation until the function that it returns is called.
func (h *Host) begins(name string) (ended func()) {
	count := func(n int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.busy[name] += n
		h.idle.Broadcast()
	}
	count(1)
	return func() { count(-1) }
}

// Invoke invokes a function and waits for its answer. failed: the answer is {"errorType", "errorMessage"}.
func (h *Host) Invoke(name string, payload []byte) (answer json.RawMessage, failed bool, err error) {
	return h.invoke(name, payload, None)
}

func (h *Host) invoke(name string, payload []byte, m Mishap) (json.RawMessage, bool, error) {
	h.mu.Lock()
	f := h.functions[name]
	h.mu.Unlock()
	if f == nil {
		return nil, false, fmt.Errorf("there is no function %s", name)
	}
	if f.slots != nil {
		f.slots <- struct{}{}
		defer func() { <-f.slots }()
	}
	began := time.Now()
	p, err := h.take(f)
	if err != nil {
		return nil, false, err
	}
	answer, failed := p.run(payload, m)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !p.over() {
		f.idle = append(f.idle, p)
	}
	h.calls = append(h.calls, Call{name, payload, answer, failed, time.Since(began)})
	return answer, failed, nil
}

// take returns a warm process, or a new one.
func (h *Host) take(f *hosted) (*instance, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(f.idle) > 0 {
		p := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if !p.over() {
			return p, nil
		}
	}
	id := fmt.Sprintf("%s-%d", f.Name, len(h.processes))
	p, err := start(h.ctx, f.Function, strings.TrimPrefix(h.runtime.URL, "http://")+"/"+id, h.write)
	if err == nil {
		h.processes[id] = p
	}
	return p, err
}

func (h *Host) write(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs.Write(b)
}

func (h *Host) serveRuntime(w http.ResponseWriter, r *http.Request) {
	id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	h.mu.Lock()
	p := h.processes[id]
	h.mu.Unlock()
	if p == nil {
		http.Error(w, "no such process", http.StatusNotFound)
		return
	}
	p.serve(w, r, rest)
}

func (h *Host) serveInvoke(w http.ResponseWriter, r *http.Request) {
	arn, ok := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
	arn, ok2 := strings.CutSuffix(arn, "/invocations")
	name, err := url.PathUnescape(arn)
	if !ok || !ok2 || err != nil || r.Method != http.MethodPost {
		http.Error(w, "not the Invoke API: "+r.URL.Path, http.StatusNotFound)
		return
	}
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name = functionName(name)
	defer h.begins(name)()
	mishap := None
	if h.Decide != nil {
		mishap = h.Decide(name, payload)
	}
	if mishap == Throttled {
		w.Header().Set("X-Amzn-ErrorType", "TooManyRequestsException")
		http.Error(w, `{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`, http.StatusTooManyRequests)
		return
	}
	if r.Header.Get("X-Amz-Invocation-Type") == "Event" {
		ended := h.begins(name)
		go func() {
			defer ended()
			if _, _, err := h.invoke(name, payload, mishap); err != nil {
				h.write([]byte(err.Error() + "\n"))
			}
		}()
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer, failed, err := h.invoke(name, payload, mishap)
	if err != nil {
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if failed {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	_, _ = w.Write(answer)
}

// functionName is the name in a function's ARN, with or without a version or alias, or the name itself.
func functionName(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 6 {
		return parts[6]
	}
	name, _, _ := strings.Cut(arn, ":")
	return name
}
