package binaries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Start is what starting a function costs: the time until it asks for its first invocation, and the memory after the second invocation.
type Start struct {
	Init time.Duration
	// MaxRSS is in bytes.
	MaxRSS int64
}

const (
	// starts is how often a function is started. The fastest start counts, for what else the machine does only adds to it, and a median
	// doubles when it does much; and the median of the memory.
	starts = 21
	// warmups is how many invocations a process takes before its memory counts.
	warmups = 2
	// startTimeout bounds one start.
	startTimeout = 30 * time.Second
)

// environment lets every function start; nothing answers at its endpoint, and nothing is sent there.
var environment = []string{"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret", "AWS_ENDPOINT_URL=http://127.0.0.1:1",
	"AWS_EC2_METADATA_DISABLED=true", "AWS_LAMBDA_LOG_FORMAT=JSON", "JOURNAL_BUCKET=journals", "EVIDENCE_BUCKET=evidence", "VELERO_BUCKET=velero",
	"STATE_MACHINE_ARN=arn:aws:states:eu-central-1:123456789012:stateMachine:fallback-chain",
	"JANITOR_FUNCTION_ARN=arn:aws:lambda:eu-central-1:123456789012:function:janitor:live",
	"MANIFEST_KEY_ARN=arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-1111-1111-111111111111"}

// Measure starts the programs some times, in turns, so that what else the machine does for a while meets all of them.
func Measure(ctx context.Context, programs map[string]string) (map[string]Start, error) {
	inits, memory := map[string][]time.Duration{}, map[string][]int64{}
	for range starts {
		for name, program := range programs {
			s, err := start(ctx, program)
			if err != nil {
				return nil, err
			}
			inits[name], memory[name] = append(inits[name], s.Init), append(memory[name], s.MaxRSS)
		}
	}
	out := map[string]Start{}
	for name := range programs {
		slices.Sort(memory[name])
		out[name] = Start{slices.Min(inits[name]), memory[name][starts/2]}
	}
	return out, nil
}

// start runs the program against a Lambda runtime API of its own (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
func start(ctx context.Context, program string) (s Start, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	asked := make(chan time.Time, warmups+1)
	given := 0
	srv := &http.Server{ReadHeaderTimeout: startTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // the answer to an invocation
			w.WriteHeader(http.StatusAccepted)
			return
		}
		asked <- time.Now()
		if given++; given > warmups {
			<-ctx.Done()
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", strconv.Itoa(given))
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(startTimeout).UnixMilli(), 10))
		_, _ = io.WriteString(w, "{") // what every function refuses by itself
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	defer func() { err = errors.Join(err, srv.Close()) }()
	cmd := exec.CommandContext(ctx, program)
	var said strings.Builder
	cmd.Stderr, cmd.Stdout = &said, &said
	cmd.Env = append(os.Environ(), append(environment, "AWS_LAMBDA_RUNTIME_API="+l.Addr().String())...)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // killed, or ended by itself: both are told from what it did
	}()
	for i := range warmups + 1 {
		select {
		case at := <-asked:
			if i == 0 {
				s.Init = at.Sub(began)
			}
		case <-exited:
			return s, fmt.Errorf("%s ended before it was measured:\n%s", program, said.String())
		}
	}
	s.MaxRSS, err = highest(cmd.Process.Pid)
	cancel() // kills it
	<-exited
	return s, err
}

// highest is the most memory that a living process had (VmHWM of proc_pid_status(5)). What getrusage(2) says of an ended one begins with
// the memory of the process that started it.
func highest(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", pid)
}
