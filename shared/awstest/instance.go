package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// instance is one process of a function.
type instance struct {
	timeout time.Duration
	next    chan invocation
	gone    chan struct{}
	kill    context.CancelFunc

	mu  sync.Mutex
	now invocation
	n   int
}

type invocation struct {
	id      string
	payload []byte
	until   time.Time
	mishap  Mishap
	reply   chan reply
}

type reply struct {
	body   json.RawMessage
	failed bool
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// start starts a process whose runtime API is at api.
func start(ctx context.Context, f Function, api string, log writer) (*instance, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &instance{timeout: f.Timeout, next: make(chan invocation), gone: make(chan struct{}), kill: cancel}
	cmd := exec.CommandContext(ctx, f.Program)
	// Those that a function has in Lambda (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html).
	cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + api, "AWS_LAMBDA_FUNCTION_NAME=" + f.Name, "AWS_LAMBDA_FUNCTION_VERSION=1",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "_HANDLER=bootstrap"}, f.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", f.Name, err)
	}
	go func() {
		_ = cmd.Wait() // killed, or it ended itself: who waits for its answer learns it
		cancel()
		close(p.gone)
	}()
	return p, nil
}

func (p *instance) over() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// run hands the process an invocation and returns its answer, or what Lambda says of a process that has none.
func (p *instance) run(payload []byte, m Mishap) (json.RawMessage, bool) {
	p.mu.Lock()
	p.n++
	i := invocation{id: strconv.Itoa(p.n), payload: payload, until: time.Now().Add(p.timeout), mishap: m, reply: make(chan reply, 1)}
	p.now = i
	p.mu.Unlock()
	late := time.NewTimer(p.timeout)
	defer late.Stop()
	select {
	case p.next <- i:
	case <-p.gone:
		return failure("Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: exit status 1", i.id)
	case <-late.C:
		p.end()
		return failure("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", i.id, p.timeout.Seconds())
	}
	select {
	case r := <-i.reply:
		return r.body, r.failed
	case <-p.gone:
		// An answer that was posted before the end counts.
		select {
		case r := <-i.reply:
			return r.body, r.failed
		default:
		}
		return failure("Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: signal: killed", i.id)
	case <-late.C:
		p.end()
		return failure("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", i.id, p.timeout.Seconds())
	}
}

func (p *instance) end() {
	p.kill()
	<-p.gone
}

func failure(kind, format string, args ...any) (json.RawMessage, bool) {
	b, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": fmt.Sprintf(format, args...)}) // two texts
	return b, true
}

// serve is the runtime API of this process (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
func (p *instance) serve(w http.ResponseWriter, r *http.Request, path string) {
	const base = "2018-06-01/runtime/"
	path = strings.TrimPrefix(path, base)
	switch {
	case path == "invocation/next":
		select {
		case i := <-p.next:
			if i.mishap == Killed {
				p.kill()
			}
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.until.UnixMilli(), 10))
			_, _ = w.Write(i.payload)
		case <-p.gone:
		case <-r.Context().Done():
		}
	case strings.HasPrefix(path, "invocation/") && r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		p.mu.Lock()
		i := p.now
		p.mu.Unlock()
		kind := strings.TrimPrefix(path, "invocation/"+i.id+"/")
		if err != nil || (kind != "response" && kind != "error") {
			http.Error(w, "not the invocation's answer", http.StatusBadRequest)
			return
		}
		if i.mishap == Lost {
			p.kill()
			return
		}
		i.reply <- reply{body, kind == "error"}
		w.WriteHeader(http.StatusAccepted)
	case strings.HasPrefix(path, "init/error"):
		w.WriteHeader(http.StatusAccepted)
	default:
		http.Error(w, "not the runtime API: "+path, http.StatusNotFound)
	}
}
