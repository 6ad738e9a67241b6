package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// probe asks components how they are, as an administrator.
type probe struct {
	client *http.Client
}

func newProbe(l Layout) (*probe, error) {
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(l.pki("client-local-stack.crt"), l.pki("client-local-stack.key"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &probe{client: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}},
	}}, nil
}

// once asks one time.
func (p *probe) once(ctx context.Context, c component) error {
	switch {
	case c.health != "":
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.health, nil)
		if err != nil {
			return err
		}
		res, err := p.client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s%s", c.health, res.Status, failed(string(body)))
		}
	case c.socket != "":
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", c.socket)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return nil
}

// failed picks the checks that failed from a verbose answer.
func failed(body string) string {
	var bad []string
	for line := range strings.Lines(body) {
		if check, is := strings.CutPrefix(line, "[-]"); is {
			bad = append(bad, strings.TrimSpace(check))
		}
	}
	if bad == nil {
		return ""
	}
	return ": " + strings.Join(bad, ", ")
}

// healthy asks in turns until the component works; nothing tells. A component that ended for good ends the wait.
func (p *probe) healthy(ctx context.Context, c component, running func(string) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.once(ctx, c)
		if err == nil {
			return nil
		}
		if ended := running(c.spec.Name); ended != nil {
			return fmt.Errorf("it does not run: %w", ended)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w (its log is %s)", c.spec.Name, context.Cause(ctx), err, c.spec.Log)
		case <-tick.C:
		}
	}
}
