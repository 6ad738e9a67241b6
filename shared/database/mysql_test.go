package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/plan"
)

func testMariaDB(t *testing.T, s *server) {
	const noSelect = "it is not a SELECT of one column"
	askEach(t, s, []query{
		{"syntax error", "SELEKT 1", equals("1"), false, "error 1064"},
		{"no such table", "SELECT count(*) FROM orders", plan.Expect{AtLeast: ptr(0.0)}, false, "error 1146 (SQLSTATE 42S02): Table 'shop.orders' doesn't exist"},
		{"too slow", "SELECT count(*) FROM items a, items b, items c, items d, items e, items f", equals(""), false, "max_statement_time exceeded"},
		{"a number of many digits", "SELECT CAST(18446744073709551615 AS UNSIGNED)", equals("18446744073709551615"), true, "18446744073709551615"},
		{"a float", "SELECT 2.5e0", equals("2.5"), true, "2.5"},
		{"a time in UTC", "SELECT FROM_UNIXTIME(1763700000)", equals("2025-11-21 04:40:00"), true, ""},
		{"two statements", "SELECT 1; INSERT INTO items VALUES (99, 'x')", equals("1"), false, "error 1064"},
		{"insert", "INSERT INTO items VALUES (99, 'x')", equals(""), false, "error 1792 (SQLSTATE 25006): Cannot execute statement in a READ ONLY transaction"},
		{"insert with an answer", "INSERT INTO items VALUES (99, 'x') RETURNING id", equals("99"), false, "error 1792 (SQLSTATE 25006): Cannot execute statement in a READ ONLY transaction"},
		{"ddl", "CREATE TABLE evil (id int)", equals(""), false, "error 1792 (SQLSTATE 25006): Cannot execute statement in a READ ONLY transaction"},
		{"into a file", "SELECT 1 INTO OUTFILE '/tmp/fallback-evil'", equals("1"), false, "ccess denied"},
		{"into a file, hidden", "SELECT 1 /*! INTO OUTFILE '/tmp/fallback-evil' */", equals("1"), false, "ccess denied"},
		{"into a variable", "SELECT 1 INTO @x", equals("1"), false, noSelect},
		{"lock", "LOCK TABLES items WRITE", equals(""), false, noSelect},
		{"setting of the server", "SET GLOBAL max_connections = 7", equals(""), false, "CONNECTION ADMIN privilege(s) for this operation"},
		{"setting of the session", "SET SESSION TRANSACTION READ WRITE", equals(""), false, noSelect},
		{"password", "SET PASSWORD = PASSWORD('x')", equals(""), false, noSelect},
		{"commit", "COMMIT", equals(""), false, noSelect},
		{"procedure", "CALL escape_it()", equals(""), false, noSelect},
		{"block", "BEGIN NOT ATOMIC COMMIT; SET SESSION TRANSACTION READ WRITE; INSERT INTO items VALUES (97, 'x'); COMMIT; END", equals(""), false, ""},
		{"statement in a text", "EXECUTE IMMEDIATE 'COMMIT'", equals(""), false, ""},
		{"analyze", "ANALYZE TABLE items", equals(""), false, noSelect},
		{"kill", "KILL CONNECTION_ID()", equals(""), false, noSelect},
		{"out of the parentheses", "SELECT 1) AS a, (SELECT 2", equals("1"), false, "error 1064"},
		{"out of the parentheses by a comment", "SELECT 1) AS a -- ", equals("1"), false, "error 1064"},
		{"an open comment", "SELECT 1 /*", equals("1"), false, "error 1064"},
		{"sequence", "SELECT NEXT VALUE FOR numbers", equals("1"), false, "error 1792 (SQLSTATE 25006): Cannot execute statement in a READ ONLY transaction"},
		{"sequence set", "SELECT SETVAL(numbers, 7)", equals("7"), false, "error 1792"},
	})
	for user, want := range map[string]string{"boss": "ALL PRIVILEGES, GRANT OPTION", "filer": "privileges FILE:", "deputy": "privileges SUPER:"} {
		refusesRole(t, s.target(user), want)
	}
	t.Run("a role that may look at everything", func(t *testing.T) {
		if r := ask(t, s.target("looker"), Questions{Queries: []plan.Query{{SQL: "SELECT count(*) FROM items", Expect: equals("42")}}}); !r.OK {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the server itself holds the transaction", func(t *testing.T) {
		for _, sql := range []string{"INSERT INTO items VALUES (99, 'x')", "INSERT INTO plain VALUES (1)", "CREATE TABLE evil (id int)", "CREATE TEMPORARY TABLE evil (id int)",
			"DROP TABLE items", "TRUNCATE TABLE items", "ALTER TABLE items ADD c int", "LOCK TABLES items WRITE", "SET PASSWORD = PASSWORD('x')", "DO add_one()"} {
			e := begun(t, s)
			if err := e.exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "1792") {
				t.Errorf("%s: %v, expected error 1792", sql, err)
			}
		}
		e := begun(t, s)
		if err := e.exec(t.Context(), "SET TRANSACTION READ WRITE"); err == nil || !strings.Contains(err.Error(), "1568") {
			t.Errorf("%v, expected error 1568", err)
		}
		if err := e.exec(t.Context(), "SET GLOBAL max_connections = 7"); err == nil || !strings.Contains(err.Error(), "1227") {
			t.Errorf("%v, expected error 1227", err)
		}
		for _, sql := range []string{"COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "START TRANSACTION READ WRITE", "RELEASE SAVEPOINT fallback_check", "ANALYZE TABLE items",
			"EXECUTE IMMEDIATE 'COMMIT'", "SET SESSION TRANSACTION READ WRITE", "SET SESSION max_statement_time = 0"} {
			leaves(t, begun(t, s), sql)
		}
		s.untouched(t)
	})
	t.Run("what only the question for a SELECT holds", func(t *testing.T) {
		// The session's and the transaction's being read-only does not hold these: it is why nothing but a SELECT is asked.
		for _, sql := range []string{"CALL escape_it()", "BEGIN NOT ATOMIC COMMIT; SET SESSION TRANSACTION READ WRITE; INSERT INTO items VALUES (97, 'x'); COMMIT; END"} {
			leaves(t, begun(t, s), sql)
		}
		s.exec("DELETE FROM items WHERE id > 42")
		s.untouched(t)
	})
	t.Run("who the server is", func(t *testing.T) {
		if o := open(t, s.target("reader")); !strings.HasPrefix(o.Server, "MariaDB 1") || o.Replica {
			t.Errorf("server %q, replica %v", o.Server, o.Replica)
		}
		s.exec("SET GLOBAL read_only = ON")
		t.Cleanup(func() { s.exec("SET GLOBAL read_only = OFF") })
		if o := open(t, s.target("reader")); !o.Replica {
			t.Error("a server that is read-only is taken for a primary")
		}
	})
	t.Run("a connection that is killed may come back", func(t *testing.T) {
		o := open(t, s.target("reader"))
		if err := o.engine.begin(t.Context(), timeout); err != nil {
			t.Fatal(err)
		}
		e, ok := o.engine.(*mysqlServer)
		if !ok {
			t.Fatalf("%T", o.engine)
		}
		ids, err := e.column(t.Context(), "SELECT CONNECTION_ID()")
		if err != nil {
			t.Fatal(err)
		}
		s.exec("KILL HARD CONNECTION " + ids[0])
		_, err = o.query(t.Context(), judges(Questions{Queries: []plan.Query{{Name: "after", SQL: "SELECT 1"}}})[0])
		var gone *Unreachable
		if err = e.classify(t.Context(), err); !errors.As(err, &gone) {
			t.Errorf("%v, want Unreachable", err)
		}
	})
}

// scripted answers statements as a server would that is not here: each by the beginning of its text.
type scripted struct {
	answers map[string][][]string
	said    []string
}

func (s *scripted) QueryContext(_ context.Context, sql string, _ []driver.NamedValue) (driver.Rows, error) {
	s.said = append(s.said, sql)
	best := ""
	for begin := range s.answers {
		if strings.HasPrefix(sql, begin) && len(begin) > len(best) {
			best = begin
		}
	}
	return &script{rows: s.answers[best]}, nil
}

func (s *scripted) PrepareContext(context.Context, string) (driver.Stmt, error) { return nil, nil }
func (s *scripted) Prepare(string) (driver.Stmt, error)                         { return nil, nil }
func (s *scripted) Begin() (driver.Tx, error)                                   { return nil, nil }
func (s *scripted) Close() error                                                { return nil }

type script struct{ rows [][]string }

func (s *script) Columns() []string {
	if len(s.rows) == 0 {
		return nil
	}
	return s.rows[0]
}
func (s *script) Close() error { return nil }
func (s *script) Next(to []driver.Value) error {
	if len(s.rows) == 0 {
		return io.EOF
	}
	for i, v := range s.rows[0] {
		to[i] = []byte(v)
	}
	s.rows = s.rows[1:]
	return nil
}

const asked = "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_read_only'"

// TestServersThatAreNotHere holds what MySQL says otherwise than MariaDB: the names of variables, and roles that SHOW GRANTS leaves out.
func TestServersThatAreNotHere(t *testing.T) {
	eight := func() map[string][][]string {
		return map[string][][]string{
			"SHOW GRANTS":           {{"GRANT SELECT, SHOW_ROUTINE ON *.* TO `reader`@`%`"}},
			"SELECT CURRENT_ROLE()": {{"`app`@`%`"}},
			asked:                   {{"transaction_read_only", "ON"}, {"max_execution_time", "2000"}},
			"SHOW SESSION VARIABLES WHERE Variable_name = 'version'":                     {{"version", "8.4.3"}},
			"SHOW SESSION VARIABLES WHERE Variable_name = 'activate_all_roles_on_login'": {{"activate_all_roles_on_login", "OFF"}},
		}
	}
	for _, tc := range []struct {
		name   string
		change func(map[string][][]string)
		want   string
	}{
		{"as it should be", func(map[string][][]string) {}, ""},
		{"a role in force", func(a map[string][][]string) {
			a["SHOW GRANTS FOR CURRENT_USER() USING `app`@`%`"] = [][]string{{"GRANT SELECT, FILE ON *.* TO `reader`@`%`"}}
		}, "FILE"},
		{"a dynamic privilege", func(a map[string][][]string) {
			a["SHOW GRANTS"] = append(a["SHOW GRANTS"], []string{"GRANT SYSTEM_VARIABLES_ADMIN,XA_RECOVER_ADMIN ON *.* TO `reader`@`%`"})
		}, "SYSTEM_VARIABLES_ADMIN, XA_RECOVER_ADMIN"},
		{"a grant in other words", func(a map[string][][]string) {
			a["SHOW GRANTS"] = append(a["SHOW GRANTS"], []string{"GRANT everything ON *.* TO `reader`@`%`"})
		}, "not understood"},
		{"no grants", func(a map[string][][]string) { delete(a, "SHOW GRANTS") }, "no global privileges"},
		{"the session is not read-only", func(a map[string][][]string) { a[asked][0][1] = "OFF" }, `transaction_read_only reads back as "OFF"`},
		{"another bound", func(a map[string][][]string) { a[asked][1][1] = "0" }, `max_execution_time reads back as "0", expected "2000"`},
		{"no bound", func(a map[string][][]string) { a[asked] = a[asked][:1] }, "nothing bounds a statement"},
		{"nothing tells of read-only", func(a map[string][][]string) { a[asked] = a[asked][1:] }, "does not tell"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := eight()
			tc.change(a)
			s := &scripted{answers: a}
			err := (&mysqlServer{conn: s}).begin(t.Context(), 2*time.Second)
			if tc.want == "" && err == nil {
				if all := strings.Join(s.said, "\n"); !strings.Contains(all, "max_execution_time = 2000") || !strings.Contains(all, "USING `app`@`%`") || strings.Contains(all, "= 2.") {
					t.Errorf("said:\n%s", all)
				}
				return
			}
			var refused *Refused
			if !errors.As(err, &refused) || tc.want == "" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want a refusal that says %q", err, tc.want)
			}
		})
	}
}

func TestWhichMySQLErrorsPass(t *testing.T) {
	for n, passes := range map[uint16]bool{1040: true, 1053: true, 1927: true, 1045: false, 1064: false, 1792: false} {
		err := (&mysqlServer{}).classify(t.Context(), &mysql.MySQLError{Number: n, Message: "said"})
		var gone *Unreachable
		if errors.As(err, &gone) != passes || !strings.Contains(err.Error(), "said") || strings.ContainsRune(err.Error(), 0) {
			t.Errorf("%d: %v", n, err)
		}
	}
	for _, err := range []error{mysql.ErrUnknownPlugin, mysql.ErrCleartextPassword} {
		var gone *Unreachable
		if err := (&mysqlServer{}).classify(t.Context(), err); errors.As(err, &gone) {
			t.Errorf("%v is tried again", err)
		}
	}
}
