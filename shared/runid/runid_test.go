package runid

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

var (
	at        = time.Date(2026, 11, 20, 2, 0, 0, 989e6, time.FixedZone("CET", 3600))
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	execution = regexp.MustCompile(`^[0-9A-Za-z_-]{1,80}$`)
)

func TestNewIsStableAndLegal(t *testing.T) {
	longest := strings.Repeat("p", MaxPlanName)
	for _, m := range run.Modes {
		for _, plan := range []string{"a", "shop", "shop-1-drill", longest} {
			id, err := New(plan, m, at, "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/x 2026-11-20T01:00:00Z")
			if err != nil {
				t.Fatalf("New(%q, %q): %v", plan, m, err)
			}
			if !dnsLabel.MatchString(id) || !execution.MatchString(id) {
				t.Errorf("%q is not both a DNS label and an execution name", id)
			}
			if ns := DrillNamespace(id); m == run.Drill && !dnsLabel.MatchString(ns) {
				t.Errorf("drill namespace %q (%d characters) is no DNS label", ns, len(ns))
			}
			p, err := Parse(id)
			if err != nil {
				t.Fatalf("Parse(%q): %v", id, err)
			}
			want := Parts{Plan: plan, Mode: m, At: at.UTC().Truncate(time.Second), Hash: id[len(id)-4:]}
			if p != want {
				t.Errorf("Parse(%q) = %+v, want %+v", id, p, want)
			}
		}
	}
}

func TestNewGolden(t *testing.T) {
	id, err := New("shop", run.Drill, at, "event-1")
	if err != nil {
		t.Fatal(err)
	}
	// The ID of a redelivered event must be the same in every version of this program, so its text is fixed here.
	if want := "shop-drill-20261120010000-ce36"; id != want {
		t.Errorf("New = %q, want %q", id, want)
	}
	other, _ := New("shop", run.Drill, at, "event-2")
	if other == id {
		t.Errorf("another event of the same second has the same ID %q", id)
	}
}

func TestNewReportsEveryMistake(t *testing.T) {
	_, err := New("Shop!", "destroy", time.Time{}, "")
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{`plan name "Shop!"`, `mode "destroy"`, "event time", "event identity"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, id := range []string{
		"", "shop", "shop-drill-2026112002000-9f3c", "shop-drill-20261120020000-9F3C", "shop-destroy-20261120020000-9f3c",
		"-shop-drill-20261120020000-9f3c", "Shop-drill-20261120020000-9f3c", "shop-drill-20261399020000-9f3c",
		"shop-drill-20261120020000-9f3c\n", "shop:drill-20261120020000-9f3c",
		strings.Repeat("p", MaxPlanName+1) + "-drill-20261120020000-9f3c", strings.Repeat("p", 64) + "-drill-20261120020000-9f3c",
	} {
		if p, err := Parse(id); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", id, p)
		}
	}
}

func TestOfDrillNamespace(t *testing.T) {
	for ns, want := range map[string]bool{
		"drill-shop-drill-20261120020000-9f3c":   true,
		"drill-shop-recover-20261120020000-9f3c": false,
		"shop-drill-20261120020000-9f3c":         false,
		"drill-shop":                             false,
		"production":                             false,
	} {
		if _, ok := OfDrillNamespace(ns); ok != want {
			t.Errorf("OfDrillNamespace(%q) = %v, want %v", ns, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("shop-drill-20261120020000-9f3c")
	f.Add("a-b-c-recover-19700101000000-0000")
	f.Fuzz(func(t *testing.T, id string) {
		p, err := Parse(id)
		if err != nil {
			return
		}
		if back := p.Plan + "-" + string(p.Mode) + "-" + p.At.Format(timeLayout) + "-" + p.Hash; back != id {
			t.Errorf("Parse(%q) gives %q back", id, back)
		}
		if !dnsLabel.MatchString(id) {
			t.Errorf("Parse accepts %q, which is no DNS label", id)
		}
	})
}
