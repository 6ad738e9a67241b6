package awstest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Cloud is moto whose Step Functions engine executes state machines with the functions of a Host
// (statemachine/judges/moto_machine.py).
type Cloud struct {
	// URL is where every service but Lambda answers.
	URL string

	t     testing.TB
	mu    sync.Mutex
	in    io.Writer
	lines *bufio.Scanner
}

// StartCloud runs it on a free port of loopback until the test ends. functions is a Host's URL.
func StartCloud(t testing.TB, functions string) *Cloud {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	python := filepath.Join(root, ".tools", "judges", "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("moto is not installed: run `make judges` (statemachine/judges/setup.sh): %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, python, filepath.Join(root, "statemachine", "judges", "moto_machine.py"), functions)
	cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true", "AWS_ACCESS_KEY_ID=moto", "AWS_SECRET_ACCESS_KEY=moto")
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel() // it has nothing to finish
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("moto said:\n%s", said.String())
		}
	})
	c := &Cloud{t: t, in: in, lines: bufio.NewScanner(out)}
	c.URL = c.answer()["address"]
	return c
}

// answer reads one line of the program.
func (c *Cloud) answer() map[string]string {
	c.t.Helper()
	var a map[string]string
	if !c.lines.Scan() {
		c.t.Fatalf("moto ended: %v", c.lines.Err())
	}
	if err := json.Unmarshal(c.lines.Bytes(), &a); err != nil || a["error"] != "" {
		c.t.Fatalf("moto answered %s: %v", c.lines.Text(), err)
	}
	return a
}

// Cluster makes an EKS cluster in a Region whose API server is at endpoint, with a certificate of this authority (PEM).
func (c *Cloud) Cluster(region, name, endpoint string, authority []byte) {
	c.t.Helper()
	c.command("cluster", map[string]any{"name": name, "region": region, "endpoint": endpoint, "authority": base64.StdEncoding.EncodeToString(authority)})
}

// SigningKey makes a KMS key of this ID in a Region that signs (ECC_NIST_P256).
func (c *Cloud) SigningKey(region, id string) {
	c.t.Helper()
	c.command("key", map[string]any{"id": id, "region": region})
}

// Ended says of an execution that it ended this much earlier than it did: what waits for that time to pass need not.
func (c *Cloud) Ended(execution string, earlier time.Duration) {
	c.t.Helper()
	c.command("ended", map[string]any{"execution": execution, "seconds": earlier.Seconds()})
}

func (c *Cloud) command(name string, argument map[string]any) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	line, err := json.Marshal(map[string]any{name: argument})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		c.t.Fatal(err)
	}
	c.answer()
}
