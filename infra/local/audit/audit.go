// Package audit reads the local API server's audit log: which requests a run sent.
package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Event is what is read of an audit.k8s.io/v1 Event (https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/).
type Event struct {
	Stage     string    `json:"stage"`
	Verb      string    `json:"verb"`
	UserAgent string    `json:"userAgent"`
	URI       string    `json:"requestURI"`
	At        time.Time `json:"requestReceivedTimestamp"`
	User      struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"user"`
	Object struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

// Unauthorized tells whether the user lacked the right: a request that was authorized can still be refused by admission
// (https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/#authorization-k8s-io-decision).
func (e Event) Unauthorized() bool {
	return e.Annotations["authorization.k8s.io/decision"] == "forbid"
}

// Review tells whether the request only asked what its user may do, or who it is: a create that is kept nowhere.
func (e Event) Review() bool {
	return e.Object.APIGroup == "authorization.k8s.io" || e.Object.APIGroup == "authentication.k8s.io"
}

// Changes tells whether the request could change something: not a read, not a server-side dry run, and not a review.
func (e Event) Changes() bool {
	switch {
	case e.Verb == "get", e.Verb == "list", e.Verb == "watch", e.Review():
		return false
	default:
		return !strings.Contains(e.URI, "dryRun=All")
	}
}

// Filter chooses events.
type Filter struct {
	// UserAgent is a prefix.
	UserAgent string
	// From and To bound the time at which the request came in; zero is open.
	From, To time.Time
}

func (f Filter) has(e Event) bool {
	return strings.HasPrefix(e.UserAgent, f.UserAgent) && (f.From.IsZero() || !e.At.Before(f.From)) && (f.To.IsZero() || !e.At.After(f.To))
}

// Read returns the requests in the log that the filter takes, each once. A watch that has not ended yet is counted by its
// start. A last line without an end is still being written and is left out.
func Read(path string, f Filter) ([]Event, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return decode(file, f)
}

func decode(r io.Reader, f Filter) ([]Event, error) {
	var out []Event
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := event(line)
		if err != nil {
			return nil, fmt.Errorf("audit log line %d: %w", n, err)
		}
		// A long-running request is logged when it starts to answer and when it ends; everything else only when it ends.
		long := e.Verb == "watch" || e.Object.Subresource == "portforward"
		if (long && e.Stage == "ResponseStarted" || !long && e.Stage == "ResponseComplete") && f.has(e) {
			out = append(out, e)
		}
	}
}

// event reads a line. An API server that was killed while it wrote leaves a line without an end, and the next one's first event
// follows on the same line: the piece before it is of a request whose end nobody saw, and is left out.
func event(line []byte) (Event, error) {
	var e Event
	err := json.Unmarshal(line, &e)
	if err == nil {
		return e, nil
	}
	if at := bytes.LastIndex(line, []byte(`{"kind":"Event",`)); at > 0 {
		e = Event{}
		if json.Unmarshal(line[at:], &e) == nil {
			return e, nil
		}
	}
	return Event{}, err
}

// ByVerb counts requests; the reviews under a name of their own.
func ByVerb(es []Event) map[string]int {
	out := map[string]int{}
	for _, e := range es {
		if e.Review() {
			out["review"]++
			continue
		}
		out[e.Verb]++
	}
	return out
}

// ReadAll is Read for the log and the older ones that the API server has set aside beside it (<name>-<time>.log).
func ReadAll(path string, f Filter) ([]Event, error) {
	ext := filepath.Ext(path)
	older, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-*" + ext)
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, p := range append(older, path) {
		es, err := Read(p, f)
		if err != nil {
			return nil, err
		}
		out = append(out, es...)
	}
	return out, nil
}
