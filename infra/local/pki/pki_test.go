package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func authority(t *testing.T, dir string, now time.Time) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, "ca", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leaf(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestServerCertificateVerifies(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a := authority(t, dir, now)
	if err := a.Server("apiserver", []string{"localhost"}, net.IPv4(127, 0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	for name, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.0.0.2": false, "example.com": false} {
		_, err := leaf(t, dir, "apiserver").Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if (err == nil) != want {
			t.Errorf("%s: %v, expected verified: %t", name, err, want)
		}
	}
}

func TestClientCertificateHoldsUserAndGroups(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir, time.Now())
	id := Identity{User: "assess", Groups: []string{"viewers", "auditors"}}
	if _, _, err := a.Client("assess", id); err != nil {
		t.Fatal(err)
	}
	c := leaf(t, dir, "assess")
	groups := slices.Clone(c.Subject.Organization)
	slices.Sort(groups)
	if c.Subject.CommonName != "assess" || !slices.Equal(groups, []string{"auditors", "viewers"}) {
		t.Errorf("subject %s", c.Subject)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client's certificate is good for a server")
	}
}

func TestKeptAndRenewed(t *testing.T) {
	start := time.Now()
	serve := func(a *Authority, dns ...string) error { return a.Server("s", dns, net.IPv4(127, 0, 0, 1)) }
	for _, c := range []struct {
		name   string
		later  time.Duration
		change func(t *testing.T, dir string)
		dns    string
		ca, s  bool // are they the same as before?
	}{
		{name: "again", dns: "localhost", ca: true, s: true},
		{name: "another name", dns: "other", ca: true},
		{name: "near its end", later: validity - renewBefore/2, dns: "localhost"},
		{name: "before its beginning", later: -48 * time.Hour, dns: "localhost"},
		{name: "key of another", dns: "localhost", ca: true, change: func(t *testing.T, dir string) {
			copyFile(t, filepath.Join(dir, "ca.key"), filepath.Join(dir, "s.key"))
		}},
		{name: "cut short", dns: "localhost", ca: true, change: func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "s.crt"), 10); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "authority lost", dns: "localhost", change: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			a := authority(t, dir, start)
			if err := serve(a, "localhost"); err != nil {
				t.Fatal(err)
			}
			before := leaf(t, dir, "s")
			if c.change != nil {
				c.change(t, dir)
			}
			b := authority(t, dir, start.Add(c.later))
			if err := serve(b, c.dns); err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(a.PEM(), b.PEM()); same != c.ca {
				t.Errorf("the authority is the same: %t, expected %t", same, c.ca)
			}
			after := leaf(t, dir, "s")
			if same := after.Equal(before); same != c.s {
				t.Errorf("the certificate is the same: %t, expected %t", same, c.s)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(b.PEM())
			if _, err := after.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start.Add(c.later)}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFilesAreClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir, time.Now())
	if err := a.Server("s", nil, net.IPv4(127, 0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := SigningKey(dir, "sa"); err != nil {
		t.Fatal(err)
	}
	if err := a.Kubeconfig(filepath.Join(dir, "kubeconfig"), "admin", "c", "https://127.0.0.1:1", Identity{User: "u"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 8 {
		t.Errorf("%d files, expected 8", len(entries))
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; expected 0600", e.Name(), info.Mode(), err)
		}
	}
}

func TestSigningKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	var keys [2][]byte
	for i := range keys {
		if err := SigningKey(dir, "sa"); err != nil {
			t.Fatal(err)
		}
		keys[i], _ = os.ReadFile(filepath.Join(dir, "sa.key"))
	}
	if len(keys[0]) == 0 || !bytes.Equal(keys[0], keys[1]) {
		t.Error("the key changed: every token signed with it would be refused")
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir, time.Now())
	path := filepath.Join(dir, "kubeconfig")
	for _, server := range []string{"https://127.0.0.1:1111", "https://127.0.0.1:2222"} {
		if err := a.Kubeconfig(path, "admin", "fallback-x", server, Identity{User: "admin"}); err != nil {
			t.Fatal(err)
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Host != server || !bytes.Equal(cfg.CAData, a.PEM()) {
			t.Errorf("host %s, expected %s with the authority's certificate", cfg.Host, server)
		}
		if _, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData); err != nil {
			t.Error(err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKubeconfigWithOthers(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir, time.Now())
	path := filepath.Join(dir, "kubeconfig")
	others := []As{{"team:one", "one", Identity{User: "first", Groups: []string{"team:one"}}}, {"team:two", "two", Identity{User: "second"}}}
	if err := a.Kubeconfig(path, "admin", "fallback-x", "https://127.0.0.1:1111", Identity{User: "admin"}, others...); err != nil {
		t.Fatal(err)
	}
	for context, want := range map[string]Identity{"": {User: "admin"}, "fallback-x": {User: "admin"}, "team:one": others[0].Identity, "team:two": others[1].Identity} {
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
			&clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
		if err != nil {
			t.Fatalf("context %q: %v", context, err)
		}
		pair, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
		if err != nil {
			t.Fatalf("context %q: %v", context, err)
		}
		if s := pair.Leaf.Subject; s.CommonName != want.User || !slices.Equal(s.Organization, want.Groups) || cfg.Host != "https://127.0.0.1:1111" {
			t.Errorf("context %q connects to %s as %s in %v, want %+v", context, cfg.Host, s.CommonName, s.Organization, want)
		}
	}
}
