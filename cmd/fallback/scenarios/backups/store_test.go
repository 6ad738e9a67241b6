package backups

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// TestStore: an S3 server that refuses, hangs or lies about lengths. The drill says so and ends before anything is created, in
// bounded time.
func TestStore(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	check := w.guard(t)
	place := w.Stack.Backups()
	through := func(p *proxy) func(string) string { return replaced(place.Endpoint, p.URL) }
	keys := []string{"backups/" + name + "/" + name + ".tar.gz", "backups/" + name + "/velero-backup.json"}
	for _, key := range keys {
		for _, tc := range []struct {
			name string
			how  how
			says string
		}{
			{"refuses", refusing, "AccessDenied"},
			{"sends half of what it announces", short, "another number of bytes"},
			{"announces and sends more", long, "announces"},
		} {
			t.Run(tc.name+" "+key[strings.LastIndex(key, "/")+1:], func(t *testing.T) {
				p := newProxy(t, place.Endpoint, key)
				p.be(tc.how)
				res := w.Start(t, run.Drill, w.with(t, named(name), through(p)))
				w.unread(t, p, res, key, tc.says)
			})
		}
	}
	t.Run("hangs", func(t *testing.T) { w.hangs(t, name, keys, through) })
	check()
	w.verifies(t, name)
}

// unread checks a run whose backup could not be read.
func (w *world) unread(t *testing.T, p *proxy, res runner.Result, key, text string) {
	t.Helper()
	if p.hit.Load() == 0 {
		t.Error("the proxy did nothing")
	}
	w.refused(t, res)
	stopped(t, res.Run.Backup, key)
	says(t, res, key)
	all := ""
	for _, f := range res.Run.Backup.Findings {
		if f.Subject == key {
			all += f.Problem + " "
		}
	}
	if !strings.Contains(all, text) {
		t.Errorf("the finding says %q, want %q", all, text)
	}
}

// hangs lets one server hang for each of the objects: a drill meets the one, and an evaluate, which needs no lease, the other, so that the
// time is waited for only once.
func (w *world) hangs(t *testing.T, name string, keys []string, through func(*proxy) func(string) string) {
	modes, states := []run.Mode{run.Drill, run.Evaluate}, []string{"ChooseRestorePoint", "ChooseRestorePointOnly"}
	proxies, results, errs := make([]*proxy, len(keys)), make([]runner.Result, len(keys)), make([]error, len(keys))
	var wg sync.WaitGroup
	for i, key := range keys {
		proxies[i] = newProxy(t, w.Stack.Backups().Endpoint, key)
		with := w.with(t, named(name), through(proxies[i]))
		// Not before the run begins: what is read of the backup ahead of it would be waited for as well.
		hang := testbed.At(walk.Entered, states[i], func() { proxies[i].be(slow) })
		wg.Go(func() { results[i], errs[i] = w.Try(t, modes[i], with, hang) })
	}
	wg.Wait()
	for i, key := range keys {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		b := results[i].Run.Backup
		if b.Phase != run.Failed || b.Status != "Unknown" {
			t.Errorf("%s: %+v", modes[i], b)
		}
		if modes[i] == run.Drill {
			w.unread(t, proxies[i], results[i], key, "sent nothing for")
		} else if !slices.ContainsFunc(b.Findings, func(f run.Finding) bool { return f.Subject == key && strings.Contains(f.Problem, "sent nothing for") }) {
			t.Errorf("%+v", b.Findings)
		}
	}
}
