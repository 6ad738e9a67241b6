package localcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"fallbackchain.io/fallback/infra/local/stack"
)

// quiet is how often a step that goes on is mentioned where lines cannot be rewritten.
const quiet = 20 * time.Second

// printer shows progress: on a terminal the step in work is one line, rewritten; elsewhere a step is printed when it ends, and
// now and then while it goes on.
type printer struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	open     bool // a line without an end is on the terminal
	shown    map[string]time.Duration
}

func newPrinter(out io.Writer) *printer {
	f, ok := out.(*os.File)
	return &printer{out: out, terminal: ok && term.IsTerminal(int(f.Fd())), shown: map[string]time.Duration{}}
}

func (p *printer) event(e stack.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := e.Step
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Elapsed > 0 {
		text += fmt.Sprintf(" (%s)", seconds(e.Elapsed))
	}
	switch {
	case e.Done:
		p.write("✓ " + text + "\n")
	case p.terminal:
		p.write("… " + text)
		p.open = true
	case e.Elapsed >= p.shown[e.Step]+quiet:
		p.shown[e.Step] = e.Elapsed
		p.write("… " + text + "\n")
	}
}

func (p *printer) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(text + "\n")
}

// close ends a line that is still open.
func (p *printer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write("")
}

func (p *printer) write(text string) {
	if p.open {
		text = "\r\x1b[K" + text
		p.open = false
	}
	_, _ = io.WriteString(p.out, text)
}

// teller sends messages to the command that waits. Once that is gone nothing is sent any more.
type teller struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newTeller(to io.Writer) *teller { return &teller{enc: json.NewEncoder(to)} }

func (t *teller) send(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.enc != nil && t.enc.Encode(m) != nil {
		t.enc = nil
	}
}
