package rights

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Recorder stands between functions and the AWS of a test: it writes down each call, and passes it on. Whose call it is, the
// access key in its signature tells.
type Recorder struct {
	// Cloud answers everything but Lambda, which Functions answers: base URLs.
	Cloud, Functions string
	Account          string
	// Elsewhere are the buckets that another S3 server has.
	Elsewhere map[string]Store
	// Callers are the functions by their access key. Set before the first call.
	Callers map[string]string

	mu      sync.Mutex
	calls   map[string]map[Call]int
	unknown []string
}

// Calls are the different calls of each function, sorted.
func (rec *Recorder) Calls() map[string][]Call {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	out := map[string][]Call{}
	for f, calls := range rec.calls {
		for c := range calls {
			out[f] = append(out[f], c)
		}
		slices.SortFunc(out[f], func(a, b Call) int { return strings.Compare(a.String(), b.String()) })
	}
	return out
}

// Unknown are the requests that could not be read as a function's call.
func (rec *Recorder) Unknown() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.unknown)
}

// ServeHTTP records and passes on.
func (rec *Recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec.record(r, body)
	_, _, service, _ := Signer(r)
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	to := rec.Cloud
	switch store, ok := rec.Elsewhere[bucket]; {
	case service == "lambda":
		to = rec.Functions
	case service == "s3" && ok:
		store.forward(w, r)
		return
	}
	target, err := url.Parse(to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	proxy := httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), // a function that is killed gives up its calls
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}
	proxy.ServeHTTP(w, r)
}

func (rec *Recorder) record(r *http.Request, body []byte) {
	key, _, _, _ := Signer(r)
	call, err := Read(r, body, rec.Account)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	function, ok := rec.Callers[key]
	switch {
	case err != nil:
		rec.unknown = append(rec.unknown, err.Error())
	case !ok:
		rec.unknown = append(rec.unknown, call.String()+" by nobody known")
	default:
		if rec.calls == nil {
			rec.calls = map[string]map[Call]int{}
		}
		if rec.calls[function] == nil {
			rec.calls[function] = map[Call]int{}
		}
		rec.calls[function][call]++
	}
}
