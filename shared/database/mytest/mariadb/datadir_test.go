package mariadb

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		a    Accounts
		has  []string
		fail bool
	}{
		"root alone": {a: Accounts{RootPassword: `a'b\c`}, has: []string{`IDENTIFIED BY 'a\'b\\c';`}},
		"database and user": {a: Accounts{RootPassword: "r", Database: "my_shop", User: "o'neil", Password: "p"},
			has: []string{"CREATE DATABASE IF NOT EXISTS `my_shop`;", `CREATE USER 'o\'neil'@'%' IDENTIFIED BY 'p';`, "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO 'o\\'neil'@'%';"}},
		"no root password":        {a: Accounts{Database: "d"}, fail: true},
		"a user without password": {a: Accounts{RootPassword: "r", User: "u"}, fail: true},
		"a line end":              {a: Accounts{RootPassword: "r\nDROP TABLE x"}, fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.a.sql()
			if (err != nil) != c.fail {
				t.Fatalf("error %v, want one: %t", err, c.fail)
			}
			for _, h := range c.has {
				if !strings.Contains(got, h) {
					t.Errorf("no %q in:\n%s", h, got)
				}
			}
		})
	}
}

// TestEveryStartSharesTheFiles: what the first start makes, later ones must find: the sizes and the number of InnoDB's files.
func TestEveryStartSharesTheFiles(t *testing.T) {
	p := Programs{Base: "/b", Share: "/b/share"}
	first, later := p.InitArgs("/data"), strings.Join(p.ServerArgs("/data", 1, ""), " ")
	for _, a := range first {
		if strings.HasPrefix(a, "--innodb-") && !strings.Contains(later, a) {
			t.Errorf("a later start lacks %s", a)
		}
	}
	if !strings.Contains(later, "--innodb-flush-log-at-trx-commit=1") {
		t.Error("commits are not written before they are answered")
	}
}

func TestWriteCertificate(t *testing.T) {
	dir := t.TempDir()
	if err := WriteCertificate(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile)); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(filepath.Join(dir, KeyFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key %v (%v), want mode 0600", st, err)
	}
}
