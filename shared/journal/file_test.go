package journal

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesKeepsWhatWasWritten(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	j, err := (&Files{Dir: dir}).Open(ctx, "shop-drill-1")
	if err != nil {
		t.Fatal(err)
	}
	for want := 1; want <= 3; want++ {
		seq, err := j.Intend(ctx, Intent{Verb: Create, Object: Object{Kind: "Namespace", Name: "x"}, Undo: UndoDelete})
		if err != nil || seq != want {
			t.Fatalf("seq %d, err %v, want %d", seq, err, want)
		}
	}
	if err := j.Done(ctx, Done{Seq: 1, UID: "u1"}); err != nil {
		t.Fatal(err)
	}
	if err := j.Done(ctx, Done{Seq: 2, Error: "refused"}); err != nil {
		t.Fatal(err)
	}
	// The process dies in the middle of a line; another one opens the journal and goes on.
	path := filepath.Join(dir, "shop-drill-1", FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(bytes.Clone(whole), []byte(`{"intent":{"seq":4,"ver`)...), 0o600); err != nil {
		t.Fatal(err)
	}
	j2, err := (&Files{Dir: dir}).Open(ctx, "shop-drill-1")
	if err != nil {
		t.Fatal(err)
	}
	if seq, err := j2.Intend(ctx, Intent{Verb: Delete, Undo: UndoRestore}); err != nil || seq != 4 {
		t.Fatalf("after a torn line: seq %d, err %v, want 4", seq, err)
	}
	if err := j2.Undone(ctx, Undone{Seq: 1, Note: "deleted"}); err != nil {
		t.Fatal(err)
	}
	es, err := j2.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var pending []int
	for _, e := range es {
		if e.Pending() {
			pending = append(pending, e.Seq)
		}
	}
	// 1 was undone, 2 was refused; 3 has no end (it may have happened), 4 neither.
	if len(es) != 4 || len(pending) != 2 || pending[0] != 3 || pending[1] != 4 {
		t.Fatalf("entries %d, pending %v; want 4 and [3 4]", len(es), pending)
	}
}

func TestOpenRefusesPaths(t *testing.T) {
	for _, id := range []string{"", ".", "..", "a/b", "../x"} {
		if _, err := (&Files{Dir: t.TempDir()}).Open(context.Background(), id); err == nil {
			t.Errorf("run ID %q was accepted", id)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("{\"intent\":{\"seq\":1}}\n{\"done\":{\"seq\":1}}\n"))
	f.Add([]byte("{\"undone\":{\"seq\":9}}\n"))
	f.Add([]byte("{}\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		es, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		for i, e := range es {
			if e.Seq != i+1 {
				t.Fatalf("entry %d has seq %d", i, e.Seq)
			}
		}
	})
}

// TestTwoProcesses write one journal in turn: neither takes a number that the other has taken, nor loses a record.
func TestTwoProcesses(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	a, err := (&Files{Dir: dir}).Open(ctx, "r")
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&Files{Dir: dir}).Open(ctx, "r")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		j := []Journal{a, b, a}[i%3]
		seq, err := j.Intend(ctx, Intent{Verb: Create, Undo: UndoDelete})
		if err != nil || seq != i+1 {
			t.Fatalf("%d: %d %v", i, seq, err)
		}
		if i%2 == 0 {
			if err := []Journal{b, a}[i%4/2].Done(ctx, Done{Seq: seq}); err != nil {
				t.Fatal(err)
			}
		}
	}
	es, err := a.Entries(ctx)
	if err != nil || len(es) != 30 {
		t.Errorf("%d %v", len(es), err)
	}
}
