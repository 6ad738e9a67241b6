package backups

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// how is what the proxy does to an answer of the S3 server.
type how int

const (
	honest how = iota
	// refusing answers 403 AccessDenied, as S3 does when a policy takes the right away.
	refusing
	// slow sends headers and then nothing.
	slow
	// short says the object's length and sends half of it, long sends more than the object had when it was listed.
	short
	long
)

// proxy stands between the plan's endpoint and the S3 server and misbehaves for the keys that hold a text.
type proxy struct {
	*httptest.Server
	mode atomic.Int32
	hit  atomic.Int32
	key  string
}

// newProxy forwards to the endpoint. The Host header goes on as it came, because it is signed.
func newProxy(t *testing.T, endpoint, key string) *proxy {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{key: key}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: p.spoil,
		// A short answer is meant to end early: the proxy's own complaint about it is noise.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if how(p.mode.Load()) == refusing && p.concerns(r) {
			p.hit.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) be(h how) { p.hit.Store(0); p.mode.Store(int32(h)) }

func (p *proxy) concerns(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, p.key)
}

func (p *proxy) spoil(res *http.Response) error {
	if !p.concerns(res.Request) || res.StatusCode/100 != 2 {
		return nil
	}
	mode := how(p.mode.Load())
	if mode == honest {
		return nil
	}
	p.hit.Add(1)
	switch mode {
	case slow:
		res.Body = &stuck{res.Body, res.Request.Context().Done()}
	case short, long:
		data, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if mode == long {
			data = append(data, "and more"...)
			res.Header.Set("Content-Length", strconv.Itoa(len(data)))
			res.ContentLength = int64(len(data))
		} else {
			data = data[:len(data)/2] // the length that was said stays
		}
		res.Header.Del("X-Amz-Checksum-Crc64nvme")
		res.Body = io.NopCloser(bytes.NewReader(data))
	}
	return nil
}

// stuck sends nothing until the client has gone.
type stuck struct {
	io.ReadCloser
	gone <-chan struct{}
}

func (s *stuck) Read([]byte) (int, error) {
	select {
	case <-s.gone:
		return 0, net.ErrClosed
	case <-time.After(2 * time.Minute):
		return 0, io.ErrUnexpectedEOF
	}
}
