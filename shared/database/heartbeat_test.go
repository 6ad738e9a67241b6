package database

import (
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	brokenPostgres = &pgconn.PgError{Severity: "FATAL", Code: "57P01", Message: "terminating at 'bird'"}
	brokenMySQL    = &mysql.MySQLError{Number: 1053, Message: "shutdown at 'bird'"}
)

func TestParseHeartbeat(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-21 04:46:23":             "2026-11-21T04:46:23Z",
		"2026-11-21 04:46:23.123456":      "2026-11-21T04:46:23.123456Z",
		"2026-11-21 04:46:23.123456+00":   "2026-11-21T04:46:23.123456Z",
		"2026-11-21 04:46:23+05:30":       "2026-11-20T23:16:23Z",
		"2026-11-21 04:46:23 +0530":       "2026-11-20T23:16:23Z",
		"2026-11-21 04:46:23-08":          "2026-11-21T12:46:23Z",
		"2026-11-21 04:46:23+00:19:32":    "2026-11-21T04:26:51Z",
		"2026-11-21T04:46:23Z":            "2026-11-21T04:46:23Z",
		"2026-11-21T04:46:23.123456789Z":  "2026-11-21T04:46:23.123456789Z",
		"2026-11-21 04:46:23 UTC":         "2026-11-21T04:46:23Z",
		" 2026-11-21 04:46:23\n":          "2026-11-21T04:46:23Z",
		"2024-02-29 23:59:59":             "2024-02-29T23:59:59Z",
		"1795236383":                      "2026-11-21T04:46:23Z",
		"1795236383.5":                    "2026-11-21T04:46:23.5Z",
		"1795236383.000000001":            "2026-11-21T04:46:23.000000001Z",
		"2000-01-01 00:00:00":             "2000-01-01T00:00:00Z",
		"2026-11-21 04:46:23.5+15:59:59":  "2026-11-20T12:46:24.5Z",
		"":                                "",
		"NULL":                            "",
		"infinity":                        "",
		"-infinity":                       "",
		"0":                               "",
		"-1795236383":                     "",
		"1795236383000":                   "", // milliseconds
		"99999999999":                     "",
		"20261121044623":                  "", // NOW() + 0
		"1.795236383e9":                   "",
		"2026-11-21":                      "",
		"04:46:23":                        "",
		"0000-00-00 00:00:00":             "",
		"1970-01-01 00:00:00+00":          "",
		"2023-02-29 23:59:59":             "",
		"2026-11-21 24:00:00":             "",
		"2026-11-21 04:46:60":             "",
		"2026-11-21 04:46:23 BC":          "",
		"2026-11-21 04:46:23+16":          "",
		"2026-11-21 04:46:23 CET":         "",
		"2026-11-21 04:46:23 America/Anc": "",
		"21.11.2026 04:46:23":             "",
		"2026-11-21 04:46":                "",
		"2026-11-21 04:46:23,5":           "",
		"2200-01-01 00:00:00":             "",
	} {
		at, err := ParseHeartbeat(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q was read as %s", in, at)
			}
			continue
		}
		if err != nil || at.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %s, %v; want %s", in, at, err, want)
		}
	}
}

func FuzzParseHeartbeat(f *testing.F) {
	for _, s := range []string{"2026-11-21 04:46:23.123456+05:30", "2026-11-21T04:46:23Z", "1795236383.25", "0", "infinity", "2026-02-30 00:00:00", "2026-11-21 04:46:23 UTC", "2026-11-21 04:46:23-15:59:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseHeartbeat(s)
		if err != nil {
			return
		}
		if at.Before(firstBeat) || !at.Before(lastBeat) || at.Location() != time.UTC {
			t.Fatalf("%q is %s", s, at)
		}
		again, err := ParseHeartbeat(at.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(at) {
			t.Fatalf("%q is %s, which reads back as %s, %v", s, at, again, err)
		}
	})
}
