package s3store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/journal"
)

const (
	bucket = "fallback-test"
	runID  = "shop-drill-20261120020000-9f3c"
)

var at = time.Date(2026, 11, 20, 2, 0, 0, 123456789, time.UTC)

func open(t *testing.T, c S3, run string) journal.Journal {
	t.Helper()
	j, err := (&Journals{S3: c, Bucket: bucket}).Open(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func intent(name string) journal.Intent {
	return journal.Intent{State: "IsolateDrill", At: at, Verb: journal.Create, Why: "test", Undo: journal.UndoDelete,
		Object: journal.Object{APIVersion: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: "drill-x", Name: name}}
}

func intend(t *testing.T, j journal.Journal, name string) int {
	t.Helper()
	n, err := j.Intend(t.Context(), intent(name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func names(t *testing.T, c S3, prefix string) []string {
	t.Helper()
	out, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, o := range out.Contents {
		list = append(list, strings.TrimPrefix(*o.Key, prefix))
	}
	return list
}

func put(t *testing.T, c S3, key, text string) {
	t.Helper()
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader(text)}); err != nil {
		t.Fatal(err)
	}
}

// entries reads the journal as another process does.
func entries(t *testing.T, c S3, run string) []journal.Entry {
	t.Helper()
	es, err := open(t, c, run).Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func TestJournal(t *testing.T) {
	real := awstest.S3(t, awstest.Start(t), bucket)

	t.Run("one object a record", func(t *testing.T) {
		e := &edge{S3: real}
		j := open(t, e, runID)
		if es := entries(t, real, runID); len(es) != 0 {
			t.Fatalf("a journal that nobody wrote has %v", es)
		}
		for i, n := range []string{"a", "b", "c"} {
			if got := intend(t, j, n); got != i+1 {
				t.Fatalf("intent %d got the number %d", i+1, got)
			}
			if err := j.Done(t.Context(), journal.Done{Seq: i + 1, At: at, UID: "uid-" + n}); err != nil {
				t.Fatal(err)
			}
		}
		if e.lists != 1 {
			t.Errorf("listed %d times, want once for the first number", e.lists)
		}
		for _, u := range []journal.Undone{{Seq: 2, At: at, Error: "refused"}, {Seq: 2, At: at, Error: "refused again"}, {Seq: 2, At: at, Note: "deleted"}} {
			if err := j.Undone(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"000001-done.json", "000001-intent.json", "000002-done.json", "000002-intent.json",
			"000002-undone-2.json", "000002-undone-3.json", "000002-undone.json", "000003-done.json", "000003-intent.json"}
		if d := cmp.Diff(want, names(t, real, "runs/"+runID+"/journal/")); d != "" {
			t.Error(d)
		}
		es, err := j.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(entries(t, real, runID), es); d != "" || len(es) != 3 {
			t.Fatalf("the writer and another process read different journals: %s", d)
		}
		if es[1].Undone.Note != "deleted" || es[1].Pending() || !es[0].Pending() || es[2].Object.Name != "c" || es[2].Done.UID != "uid-c" || !es[0].At.Equal(at) {
			t.Errorf("%+v", es)
		}
		before := e.gets
		if _, err := j.Entries(t.Context()); err != nil || e.gets != before {
			t.Errorf("%v; %d records were read again, want none", err, e.gets-before)
		}
		if got := intend(t, open(t, real, runID), "d"); got != 4 {
			t.Errorf("the next process writes number %d, want 4", got)
		}
	})

	t.Run("writers at once", func(t *testing.T) {
		const run, writers, each = "shop-recover-20261120020000-0001", 4, 5
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := map[int]string{}
		one := &atomically{S3: real}
		for w := range writers {
			j := open(t, one, run)
			wg.Go(func() {
				for i := range each {
					n := fmt.Sprintf("%d-%d", w, i)
					seq, err := j.Intend(t.Context(), intent(n))
					mu.Lock()
					if taken[seq] != "" || err != nil {
						t.Errorf("%s and %s have the number %d: %v", taken[seq], n, seq, err)
					}
					taken[seq] = n
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		es := entries(t, real, run)
		if len(es) != writers*each {
			t.Fatalf("%d entries, want %d", len(es), writers*each)
		}
		for _, e := range es {
			if taken[e.Seq] != e.Object.Name {
				t.Errorf("number %d is %s, its writer was told that it is %s", e.Seq, e.Object.Name, taken[e.Seq])
			}
		}
	})

	t.Run("the answer is lost and the client tries again", func(t *testing.T) {
		const run = "shop-recover-20261120020000-0002"
		e := &edge{S3: real}
		lost := errors.New("connection reset")
		e.after = func(string) error {
			e.after = nil
			return lost
		}
		// What the SDK does within one call, seen from outside: the same bytes once more.
		again := retrying{e}
		if n := intend(t, open(t, again, run), "a"); n != 1 {
			t.Errorf("number %d, want 1: the first try was stored", n)
		}
		if es := entries(t, real, run); len(es) != 1 {
			t.Errorf("%d entries, want 1", len(es))
		}
	})

	t.Run("another conditional write is under way", func(t *testing.T) {
		const run = "shop-recover-20261120020000-0003"
		e, left := &edge{S3: real}, 2
		e.before = func(string) error {
			if left--; left >= 0 {
				return &smithy.GenericAPIError{Code: "ConditionalRequestConflict"}
			}
			return nil
		}
		if n := intend(t, open(t, e, run), "a"); n != 1 {
			t.Errorf("number %d, want 1", n)
		}
		left = 1000
		if _, err := open(t, e, run).Intend(t.Context(), intent("b")); err == nil || code(err) != "ConditionalRequestConflict" {
			t.Errorf("a conflict without end: %v", err)
		}
	})

	t.Run("not durable, not numbered", func(t *testing.T) {
		const run = "shop-recover-20261120020000-0004"
		e := &edge{S3: real, before: func(string) error { return &smithy.GenericAPIError{Code: "AccessDenied"} }}
		j := open(t, e, run)
		if n, err := j.Intend(t.Context(), intent("a")); err == nil || n != 0 {
			t.Fatalf("number %d, %v: expected an error, the intent was not stored", n, err)
		}
		e.before = nil
		if n := intend(t, j, "a"); n != 1 {
			t.Errorf("number %d, want 1: the failed one took none", n)
		}
	})

	for name, objects := range map[string]map[string]string{
		"no record's name":       {"000001-intent.txt": "{}"},
		"a second first try":     {"000001-intent-2.json": "{}"},
		"a number in short form": {"1-intent.json": "{}"},
		"a gap":                  {"000001-intent.json": `{"intent":{"seq":1}}`, "000003-intent.json": `{"intent":{"seq":3}}`},
		"another number inside":  {"000001-intent.json": `{"intent":{"seq":2}}`},
		"the end of no intent":   {"000001-done.json": `{"done":{"seq":1}}`},
		"another kind inside":    {"000001-intent.json": `{"intent":{"seq":1}}`, "000001-done.json": `{"undone":{"seq":1}}`},
		"not JSON":               {"000001-intent.json": `{`},
		"empty":                  {"000001-intent.json": ``},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			run := "shop-recover-" + strings.ReplaceAll(name, " ", "-")
			for k, v := range objects {
				put(t, real, "runs/"+run+"/journal/"+k, v)
			}
			if es, err := open(t, real, run).Entries(t.Context()); err == nil {
				t.Errorf("read as %v", es)
			}
		})
	}
}

func TestOpenRefusesPaths(t *testing.T) {
	for _, id := range []string{"", ".", "..", "a/b", `a\b`} {
		if _, err := (&Journals{}).Open(t.Context(), id); err == nil {
			t.Errorf("%q was opened", id)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"000001-intent.json", "000001-undone-2.json", "1000000-done.json", "", "000001-intent-1.json", "000000-done-0.json"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err == nil && (n.String() != s || n.seq < 0 || n.try < 1) {
			t.Errorf("%q is read as %+v, which is written %q", s, n, n)
		}
	})
}
