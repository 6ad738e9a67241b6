package audit

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const log = `{"stage":"ResponseComplete","verb":"get","userAgent":"fallback-chain","requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","objectRef":{"resource":"pods"}}
{"stage":"ResponseStarted","verb":"watch","userAgent":"fallback-chain","requestReceivedTimestamp":"2026-01-02T03:04:06.000000Z"}
{"stage":"ResponseComplete","verb":"watch","userAgent":"fallback-chain","requestReceivedTimestamp":"2026-01-02T03:04:06.000000Z"}
{"stage":"ResponseComplete","verb":"get","userAgent":"kube-scheduler","requestReceivedTimestamp":"2026-01-02T03:04:06.000000Z"}
{"stage":"ResponseComplete","verb":"delete","userAgent":"fallback-chain","requestReceivedTimestamp":"2026-01-02T03:05:00.000000Z"}
{"stage":"ResponseComp`

func TestRequestsAreCountedOnce(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, tc := range map[string]struct {
		f    Filter
		want map[string]int
	}{
		"of one program":          {Filter{UserAgent: "fallback-chain"}, map[string]int{"get": 1, "watch": 1, "delete": 1}},
		"within a time":           {Filter{UserAgent: "fallback-chain", To: at("2026-01-02T03:04:59Z")}, map[string]int{"get": 1, "watch": 1}},
		"everything after a time": {Filter{From: at("2026-01-02T03:04:06Z")}, map[string]int{"get": 1, "watch": 1, "delete": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			es, err := decode(strings.NewReader(log), tc.f)
			if err != nil || !maps.Equal(ByVerb(es), tc.want) {
				t.Errorf("got %v, %v, want %v", ByVerb(es), err, tc.want)
			}
		})
	}
}

func TestOlderLogsAreReadToo(t *testing.T) {
	dir := t.TempDir()
	lines := strings.SplitAfter(log, "\n")
	for name, text := range map[string]string{"audit-2026-01-02T03-05-00.000.log": lines[0] + lines[1], "audit.log": lines[4], "other.log": lines[3]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	es, err := ReadAll(filepath.Join(dir, "audit.log"), Filter{})
	if want := map[string]int{"get": 1, "watch": 1, "delete": 1}; err != nil || !maps.Equal(ByVerb(es), want) {
		t.Errorf("got %v, %v, want %v", ByVerb(es), err, want)
	}
	if _, err := ReadAll(filepath.Join(dir, "nowhere.log"), Filter{}); err == nil {
		t.Error("a log that is not there was read")
	}
}

func TestUnauthorized(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want bool
	}{
		"no right":            {`{"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}}`, true},
		"refused by a policy": {`{"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"allow"}}`, false},
		"nothing is said":     {`{"responseStatus":{"code":403}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var e Event
			if err := json.Unmarshal([]byte(tc.line), &e); err != nil || e.Unauthorized() != tc.want {
				t.Errorf("got %v, %v", e.Unauthorized(), err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(log)
	f.Fuzz(func(_ *testing.T, s string) { _, _ = decode(strings.NewReader(s), Filter{}) })
}

func TestALineCutByAKill(t *testing.T) {
	const first, second = `{"kind":"Event","stage":"ResponseComplete","verb":"get","userAgent":"fallb`, `{"kind":"Event","stage":"ResponseComplete","verb":"delete","userAgent":"fallback-chain"}`
	es, err := decode(strings.NewReader(first+second+"\n"), Filter{})
	if err != nil || !maps.Equal(ByVerb(es), map[string]int{"delete": 1}) {
		t.Errorf("a cut line and the next server's: got %v, %v, want the second", ByVerb(es), err)
	}
	for _, broken := range []string{first + "\n", second + first + "\n", "no JSON\n"} {
		if es, err := decode(strings.NewReader(broken), Filter{}); err == nil {
			t.Errorf("%q is read as %v, want an error", broken, es)
		}
	}
}
