package audit

import (
	"maps"
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
