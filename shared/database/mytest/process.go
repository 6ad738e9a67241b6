package mytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// identity is the user the server runs as; nil when it is the test's own.
type identity struct{ cred *syscall.Credential }

// unprivileged is another user when the test runs as root: MariaDB refuses to run as root.
func unprivileged() (identity, error) {
	if os.Geteuid() != 0 {
		return identity{}, nil
	}
	for _, name := range []string{"mysql", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if uerr == nil && gerr == nil {
			return identity{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
		}
	}
	return identity{}, errors.New("root without a user mysql or nobody to run MariaDB as")
}

// mayEnter holds for directories that everybody may pass, when the user is another one.
func (i identity) mayEnter(dir string) error {
	if i.cred == nil {
		return nil
	}
	for {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("user %d may not enter %s", i.cred.Uid, dir)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

func (i identity) command(ctx context.Context, home, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = home
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C", "TZ=UTC"}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		c.Env = append(c.Env, "LD_LIBRARY_PATH="+v)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: i.cred}
	return c
}

func (i identity) own(tb testing.TB, dir string) {
	tb.Helper()
	if i.cred == nil {
		return
	}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(i.cred.Uid), int(i.cred.Gid))
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// serve starts the server and returns when it says that it is ready.
func (i identity) serve(tb testing.TB, home, server string, args []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	c := i.command(ctx, home, server, args...)
	// Nothing in it is wanted any more, and a clean end takes a second.
	c.Cancel = func() error { return c.Process.Kill() }
	c.WaitDelay = 5 * time.Second
	pipe, err := c.StderrPipe()
	if err != nil {
		cancel()
		return err
	}
	if err := c.Start(); err != nil {
		cancel()
		return err
	}
	ready, log := make(chan bool, 1), &strings.Builder{}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		told := false
		sc := bufio.NewScanner(pipe)
		for sc.Scan() {
			if !told && log.Len() < 1<<16 {
				log.WriteString(sc.Text() + "\n")
			}
			if !told && strings.Contains(sc.Text(), mariadb.ReadyLine) {
				told = true
				ready <- true
			}
		}
		if !told {
			ready <- false
		}
	}()
	stop := func() {
		cancel()
		<-drained
		_ = c.Wait()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case ok := <-ready:
		if ok {
			tb.Cleanup(stop)
			return nil
		}
	case <-late.C:
	}
	stop()
	return fmt.Errorf("mariadbd did not become ready:\n%s", log)
}
