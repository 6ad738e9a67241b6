package database

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/plan"
)

func testKinds(t *testing.T, s *server) {
	for _, tc := range []struct {
		name, sql string
		kind      plan.QueryKind
		expect    plan.Expect
		ok        bool
		got       string
	}{
		{"rows", "SELECT count(*) FROM items", plan.RowCountQuery, plan.Expect{AtLeast: ptr(42.0)}, true, "42"},
		{"a sum of rows", "SELECT sum(id) FROM items", plan.RowCountQuery, equals("903"), true, "903"},
		{"half a row", "SELECT 42.5", plan.RowCountQuery, plan.Expect{AtLeast: ptr(1.0)}, false, "42.5 (not a whole number of rows)"},
		{"minus one row", "SELECT -1", plan.RowCountQuery, equals("-1"), false, "not a whole number"},
		{"a text", "SELECT 'many'", plan.RowCountQuery, plan.Expect{Matches: ptr(".*")}, false, "not a whole number"},
		{"digest", "SELECT md5('items')", plan.ChecksumQuery, equals("691d502cfd0e0626cd3b058e5682ad1c"), true, ""},
		{"another digest", "SELECT md5('items')", plan.ChecksumQuery, equals("00000000000000000000000000000000"), false, ""},
		{"digests that are the same number", "SELECT '0e12'", plan.ChecksumQuery, equals("0e34"), false, "0e12"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ask(t, s.target("reader"), Questions{Queries: []plan.Query{{Name: tc.name, Kind: tc.kind, SQL: tc.sql, Expect: tc.expect}}})
			if r.OK != tc.ok || !strings.Contains(r.Got, tc.got) || r.Kind != tc.kind {
				t.Errorf("%+v", r)
			}
		})
	}
}

func testHeartbeat(t *testing.T, s *server) {
	column := map[plan.Engine]string{
		plan.PostgreSQL: "CREATE TABLE beats (zoned timestamptz, bare timestamp, unix bigint); GRANT SELECT ON beats TO reader; INSERT INTO beats VALUES ('2026-11-21 05:00:00.25+02', '2026-11-21 03:00:00.25', 1795230000)",
		plan.MySQL:      "CREATE TABLE beats (zoned timestamp(6) NULL, bare datetime(2), unix bigint); SET time_zone = '+02:00'; INSERT INTO beats VALUES ('2026-11-21 05:00:00.25', '2026-11-21 03:00:00.25', 1795230000)",
	}
	s.exec(column[s.engine])
	cast := map[plan.Engine]string{plan.PostgreSQL: "SELECT CAST(max(zoned) AS timestamp) FROM beats", plan.MySQL: "SELECT CAST(max(zoned) AS datetime(2)) FROM beats"}[s.engine]
	epoch := map[plan.Engine]string{plan.PostgreSQL: "SELECT extract(epoch FROM max(zoned)) FROM beats", plan.MySQL: "SELECT unix_timestamp(max(zoned)) FROM beats"}[s.engine]
	at := time.Date(2026, 11, 21, 3, 0, 0, 250_000_000, time.UTC)
	second := at.Truncate(time.Second)
	for _, tc := range []struct {
		name, sql string
		now       time.Time
		want      time.Time
		got       string
	}{
		{"with a zone", "SELECT max(zoned) FROM beats", at, at, "2026-11-21T03:00:00.25Z"},
		{"without a zone", "SELECT max(bare) FROM beats", at, at, "2026-11-21T03:00:00.25Z"},
		{"with a zone, cast to none", cast, at, at, "2026-11-21T03:00:00.25Z"},
		{"seconds", "SELECT max(unix) FROM beats", at, second, "2026-11-21T03:00:00Z"},
		{"seconds with a fraction", epoch, at, at, ""},
		{"the database's clock is a little ahead", "SELECT max(zoned) FROM beats", at.Add(-Skew), at, ""},
		{"the future", "SELECT max(zoned) FROM beats", at.Add(-Skew - time.Second), time.Time{}, "which is 5m1s in the future"},
		{"no row", "SELECT zoned FROM beats WHERE unix = 0", at, time.Time{}, "0 rows of 1 columns"},
		{"no heartbeat", "SELECT max(zoned) FROM beats WHERE unix = 0", at, time.Time{}, "NULL"},
		{"a text", "SELECT 'yesterday'", at, time.Time{}, "yesterday: is not a time, expected"},
		{"never", "SELECT 0", at, time.Time{}, "is not a time between"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ask(t, s.target("reader"), Questions{Heartbeat: &plan.Heartbeat{SQL: tc.sql}, Now: tc.now})
			if r.Kind != HeartbeatKind || r.Name != "heartbeat" || !strings.Contains(r.Got, tc.got) || r.OK != !tc.want.IsZero() || (r.At != nil) != r.OK {
				t.Fatalf("%+v", r)
			}
			if r.OK && !r.At.Equal(tc.want) {
				t.Errorf("%s, want %s", r.At, tc.want)
			}
		})
	}
}

var birdless = strings.Repeat("0", 64)

// breaking is a connection that breaks at every query.
type breaking struct {
	engine
	err error
}

func (b breaking) ask(context.Context, string) (answer, error) { return answer{}, b.err }

// The canary's value is nowhere, also not where the server would quote it.
func testCanary(t *testing.T, s *server) {
	const value = "c\u00e4nary 'bird' \\ 5d41402a"
	types := map[plan.Engine]string{plan.PostgreSQL: "bytea", plan.MySQL: "blob"}
	literal := strings.ReplaceAll(value, "'", "''")
	if s.engine == plan.MySQL {
		literal = strings.ReplaceAll(literal, `\`, `\\`)
	}
	s.exec("CREATE TABLE canary (id int, v text, raw " + types[s.engine] + "); INSERT INTO canary VALUES (1, '" + literal + "', NULL), (2, NULL, NULL), (3, '', NULL)")
	if s.engine == plan.PostgreSQL {
		s.exec("GRANT SELECT ON canary TO reader")
	}
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	quoting := map[plan.Engine]string{plan.PostgreSQL: "SELECT CAST(v AS int) FROM canary WHERE id = 1",
		plan.MySQL: "SELECT extractvalue('<a/>', concat('//', (SELECT v FROM canary WHERE id = 1)))"}[s.engine]
	for _, tc := range []struct {
		name, sql, sha string
		ok             bool
		got            string
	}{
		{"byte for byte", "SELECT v FROM canary WHERE id = 1", digest(value), true, "sha256:" + digest(value)[:12] + "…"},
		{"another value", "SELECT v FROM canary WHERE id = 1", digest(value + " "), false, "sha256:" + digest(value)[:12] + "…"},
		{"the same digits at first", "SELECT v FROM canary WHERE id = 1", digest(value)[:63] + "x", false, "sha256:"},
		{"empty", "SELECT v FROM canary WHERE id = 3", digest(""), true, ""},
		{"a number", "SELECT 42", digest("42"), true, ""},
		{"NULL", "SELECT v FROM canary WHERE id = 2", digest(""), false, "NULL"},
		{"no row", "SELECT v FROM canary WHERE id = 9", digest(""), false, "0 rows"},
		{"several rows", "SELECT v FROM canary", digest(value), false, "3 rows"},
		{"an error that quotes it", quoting, digest(value), false, "the server refused the query"},
		{"a query that is none", "DELETE FROM canary WHERE v = '" + literal + "'", digest(value), false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ask(t, s.target("reader"), Questions{Canary: &plan.Canary{SQL: tc.sql, SHA256: tc.sha}})
			if r.OK != tc.ok || r.Kind != CanaryKind || !strings.Contains(r.Got, tc.got) || r.Expected != "sha256:"+tc.sha[:12]+"…" {
				t.Errorf("%+v", r)
			}
			b, err := json.Marshal(r)
			if err != nil || bytes.Contains(b, []byte("bird")) || bytes.Contains(b, []byte("5d41402a")) {
				t.Errorf("the value is in %s, %v", b, err)
			}
		})
	}
	if s.engine == plan.MySQL {
		r := ask(t, s.target("reader"), Questions{Canary: &plan.Canary{SQL: "SELECT 2.5e0", SHA256: strings.Repeat("0", 64)}})
		if r.OK || !strings.Contains(r.Got, "cast it") {
			t.Errorf("%+v", r)
		}
	}
}

func TestABrokenConnectionSaysNothingOfTheCanary(t *testing.T) {
	plain := errors.New("connection reset")
	for err, want := range map[error]string{brokenPostgres: "57P01", brokenMySQL: "1053", plain: plain.Error()} {
		s := &Session{engine: breaking{err: err}}
		_, err := s.query(t.Context(), judges(Questions{Canary: &plan.Canary{SQL: "SELECT 1", SHA256: birdless}})[0])
		if err == nil || strings.Contains(err.Error(), "bird") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func testOneTransaction(t *testing.T, s *server) {
	rs, err := open(t, s.target("reader")).Run(t.Context(), Questions{
		Queries:   []plan.Query{{Name: "rows", Kind: plan.RowCountQuery, SQL: "SELECT count(*) FROM items", Expect: equals("42")}},
		Heartbeat: &plan.Heartbeat{SQL: "SELECT 1795230000"}, Canary: &plan.Canary{SQL: "SELECT 'x'", SHA256: strings.Repeat("0", 64)},
		Now: time.Unix(1795230000, 0),
	})
	if err != nil || len(rs) != 3 || !rs[0].OK || !rs[1].OK || rs[2].OK {
		t.Errorf("%+v, %v", rs, err)
	}
}

// testTLS: Prefer takes what is offered, Require takes nothing else.
func testTLS(t *testing.T, s *server, offered bool) {
	uses := map[plan.Engine]plan.Query{
		plan.PostgreSQL: {SQL: "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"},
		plan.MySQL:      {SQL: "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"},
	}
	want := map[plan.Engine]map[bool]string{plan.PostgreSQL: {false: "f", true: "t"}, plan.MySQL: {false: "0", true: "1"}}[s.engine][offered]
	for _, mode := range []plan.TLSMode{"", plan.TLSPrefer, plan.TLSRequire} {
		to := s.target("reader")
		to.TLS = mode
		if mode == plan.TLSRequire && !offered {
			_, err := Open(t.Context(), to)
			var refused *Refused
			if !errors.As(err, &refused) || refused.Code != TLSNotOffered {
				t.Errorf("%s without TLS, %s: %v", s.engine, mode, err)
			}
			continue
		}
		if r := ask(t, to, Questions{Queries: []plan.Query{uses[s.engine]}}); !strings.HasPrefix(r.Got, want+" ") {
			t.Errorf("%s, TLS offered %v, %s: %q", s.engine, offered, mode, r.Got)
		}
	}
}
