package eks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	awseks "github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/fault"
)

// certified is a server with a certificate of its own, which counts connections.
func certified(t *testing.T, connections *atomic.Int32) *server {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"gitVersion":"v1.36.3"}`)
	}))}
	s.Config.ConnState = func(_ net.Conn, to http.ConnState) {
		if to == http.StateNew {
			connections.Add(1)
		}
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestRotation follows one warm process while its cluster moves: nothing is described as long as the endpoint answers; when it does not, the
// next call describes it, at most once in 30 s, and goes on with what it is told.
func TestRotation(t *testing.T) {
	var count atomic.Int32
	first, second, third := certified(t, &count), certified(t, &count), certified(t, &count)
	now := time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	d := &describer{out: described(first)}
	clusters := &Clusters{EKS: d, Tokens: &numbered{now: clock, life: 14 * time.Minute}, Now: clock}
	renamed := func(s, certificate *server) *awseks.DescribeClusterOutput {
		out := described(s)
		out.Cluster.CertificateAuthority = described(certificate).Cluster.CertificateAuthority
		return out
	}
	for _, step := range []struct {
		name     string
		pass     time.Duration
		describe *awseks.DescribeClusterOutput
		err      error
		close    *server
		asked    int
		answers  bool
		fault    fault.Code
	}{
		{name: "described once", asked: 1, answers: true},
		{name: "and kept for hours", pass: 5 * time.Hour, describe: described(second), answers: true},
		{name: "the endpoint is away, this call fails", close: first},
		{name: "the next describes it and goes on", asked: 1, answers: true},
		{name: "its certificate is another's", pass: time.Minute, describe: renamed(third, second), close: second},
		{name: "the wrong one is told", asked: 1},
		{name: "not again so soon", pass: 29 * time.Second, describe: described(third)},
		{name: "the right one is told", pass: time.Second, asked: 1, answers: true},
		{name: "it is away, nothing moved", pass: time.Minute, close: third},
		{name: "described, and the same", asked: 1},
		{name: "not again so soon: the failure stays in mind", pass: time.Second},
		{name: "EKS does not answer either: the client is kept", pass: time.Minute, err: &smithy.GenericAPIError{Code: "TooManyRequestsException"}, asked: 1},
		{name: "the cluster was deleted", pass: time.Minute, err: &types.ResourceNotFoundException{}, asked: 1, fault: fault.PlanInvalid},
	} {
		now, d.asked = now.Add(step.pass), nil
		if d.err = step.err; step.describe != nil {
			d.out = step.describe
		}
		if step.close != nil {
			step.close.CloseClientConnections()
			step.close.Listener.Close()
		}
		c, err := clusters.Connect(t.Context(), "main", "eu-central-1")
		if len(d.asked) != step.asked {
			t.Errorf("%s: described %v, expected %d", step.name, d.asked, step.asked)
		}
		if step.fault != "" {
			if f := fault.From(err); f == nil || f.Code != step.fault {
				t.Errorf("%s: %v, expected %s", step.name, err, step.fault)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if _, err = c.Version(t.Context()); (err == nil) != step.answers {
			t.Errorf("%s: %v, expected an answer: %t", step.name, err, step.answers)
		}
	}
}

// TestIdleConnections: a connection that nobody used for a while is not used again; it may be dead on the other side.
func TestIdleConnections(t *testing.T) {
	var count atomic.Int32
	s := certified(t, &count)
	now := time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	clusters := &Clusters{EKS: &describer{out: described(s)}, Tokens: &numbered{now: clock, life: 14 * time.Minute}, Now: clock}
	for i, step := range []struct {
		pass time.Duration
		want int32
	}{{0, 1}, {time.Minute, 1}, {time.Minute, 1}, {61 * time.Second, 2}, {15 * time.Minute, 3}} {
		now = now.Add(step.pass)
		c, err := clusters.Connect(t.Context(), "main", "eu-central-1")
		if err == nil {
			_, err = c.Version(t.Context())
		}
		if err != nil || count.Load() != step.want {
			t.Errorf("step %d: %d connections, %v; expected %d", i, count.Load(), err, step.want)
		}
	}
}

// TestGivenUp: a request that its own caller gave up says nothing about the endpoint.
func TestGivenUp(t *testing.T) {
	var count atomic.Int32
	s := certified(t, &count)
	d := &describer{out: described(s)}
	clusters := &Clusters{EKS: d, Tokens: &numbered{now: time.Now, life: time.Hour}, Now: func() time.Time { return time.Now().Add(time.Duration(len(d.asked)) * time.Hour) }}
	for range 2 {
		c, err := clusters.Connect(t.Context(), "main", "eu-central-1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if got := fmt.Sprint(d.asked); got != "[main in eu-central-1]" {
		t.Errorf("described %s", got)
	}
}
