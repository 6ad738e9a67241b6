package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/plan"
)

// mysqlServer speaks with MySQL and MariaDB.
//
// The session is made READ ONLY and then the transaction (https://dev.mysql.com/doc/refman/8.4/en/set-transaction.html,
// https://mariadb.com/kb/en/start-transaction/): a write fails with error 1792, whatever the engine of the table. A statement that
// commits implicitly (DDL, LOCK TABLES, https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html) does end the transaction before it
// is refused for the session's sake. What neither holds are statements that carry others: CALL, EXECUTE IMMEDIATE and MariaDB's
// BEGIN NOT ATOMIC can commit, make the session writable and write, all in one. So nothing is asked but what the server takes as a
// subquery: a SELECT, from which no function may commit (error 1422).
type mysqlServer struct {
	conn mysqlConn
	raw  net.Conn
	want map[string]string
}

// mysqlConn is what the driver's connection does.
type mysqlConn interface {
	driver.Conn
	driver.QueryerContext
	driver.ConnPrepareContext
}

func openMySQL(ctx context.Context, t Target) (engine, error) {
	m := &mysqlServer{}
	// Nothing is taken from the environment, from a file, or from what the driver has registered by name.
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = t.Credentials.Username, t.Credentials.Password, t.Database
	cfg.Net, cfg.Addr = "tcp", "pod:3306"
	cfg.Logger = &mysql.NopLogger{}
	cfg.ConnectionAttributes = "program_name:fallback-chain"
	cfg.TLSConfig = "preferred"
	if t.TLS == plan.TLSRequire {
		cfg.TLSConfig = "skip-verify"
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := t.Dial(ctx)
		m.raw = c
		return c, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database connection: %w", err)
	}
	hello, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := connector.Connect(hello)
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		return nil, tlsRequired()
	case err != nil:
		return nil, m.classify(ctx, err)
	}
	c, ok := conn.(mysqlConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("database connection: the driver's %T cannot be asked", conn)
	}
	m.conn = c
	return m, nil
}

func (m *mysqlServer) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = m.raw.Close() })
	defer stop()
	_ = m.conn.Close() // the connection is gone either way
}

// about reads what any role may read. A replica is a server that takes no writes (read_only, super_read_only, innodb_read_only) or
// whose replication threads run; a server that follows another one, takes writes and has stopped replicating looks like a primary:
// with pod: primary the gate then finds two and refuses.
func (m *mysqlServer) about(ctx context.Context) (server string, replica bool, err error) {
	// TIMESTAMP columns and functions are written in this zone.
	if err := m.exec(ctx, "SET SESSION time_zone = '+00:00'"); err != nil {
		return "", false, err
	}
	vars, err := m.pairs(ctx, "SHOW SESSION VARIABLES WHERE Variable_name IN ('version', 'read_only', 'super_read_only', 'innodb_read_only')")
	if err != nil {
		return "", false, err
	}
	status, err := m.pairs(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'Slaves_running', 'Replica_running')")
	if err != nil {
		return "", false, err
	}
	for _, v := range status {
		replica = replica || on(v)
	}
	for _, name := range []string{"read_only", "super_read_only", "innodb_read_only"} {
		replica = replica || on(vars[name])
	}
	version, kind := vars["version"], "MySQL"
	if before, _, ok := strings.Cut(version, "-MariaDB"); ok {
		version, kind = before, "MariaDB"
	}
	if version == "" {
		version = "(version unknown)"
	}
	return kind + " " + version, replica, nil
}

// on: a variable is OFF, ON, or a number; read_only also has NO_LOCK and NO_LOCK_NO_ADMIN (https://mariadb.com/kb/en/server-system-variables/#read_only).
func on(v string) bool { return v != "" && v != "OFF" && v != "0" }

// begin bounds every statement by max_statement_time (MariaDB, seconds, https://mariadb.com/kb/en/server-system-variables/#max_statement_time)
// or SELECT statements by max_execution_time (MySQL, milliseconds,
// https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_max_execution_time).
func (m *mysqlServer) begin(ctx context.Context, bound time.Duration) error {
	if err := m.refuseWriters(ctx); err != nil {
		return err
	}
	have, err := m.session(ctx)
	if err != nil {
		return err
	}
	m.want = map[string]string{}
	ms := bound.Milliseconds()
	switch {
	case has(have, "max_statement_time"):
		m.want["max_statement_time"] = fmt.Sprintf("%d.%03d000", ms/1000, ms%1000)
	case has(have, "max_execution_time"):
		m.want["max_execution_time"] = strconv.FormatInt(ms, 10)
	default:
		return &Refused{NotReadOnly, "the server has neither max_statement_time nor max_execution_time: nothing bounds a statement"}
	}
	// Whole seconds, at least one.
	locks := strconv.FormatInt(int64(math.Ceil(bound.Seconds())), 10)
	statements := []string{"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
		"SET SESSION lock_wait_timeout = " + locks, "SET SESSION innodb_lock_wait_timeout = " + locks}
	for name, v := range m.want {
		statements = append(statements, "SET SESSION "+name+" = "+v)
	}
	for _, sql := range append(statements, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY") {
		if err := m.exec(ctx, sql); err != nil {
			return err
		}
	}
	// tx_read_only is MariaDB's name and was MySQL's until 8.0; MariaDB has both since 11.1.
	for _, name := range []string{"tx_read_only", "transaction_read_only"} {
		if has(have, name) {
			m.want[name] = "ON"
		}
	}
	if !has(m.want, "tx_read_only") && !has(m.want, "transaction_read_only") {
		return &Refused{NotReadOnly, "the server does not tell whether the session is read-only"}
	}
	if has(have, "in_transaction") {
		m.want["in_transaction"] = "1"
	}
	why, err := m.differs(ctx)
	if err == nil && why != "" {
		err = &Refused{NotReadOnly, why}
	}
	return err
}

// session reads the variables that the transaction depends on; a server has only some of them.
func (m *mysqlServer) session(ctx context.Context) (map[string]string, error) {
	return m.pairs(ctx, "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_read_only', 'transaction_read_only', 'in_transaction', 'max_statement_time', 'max_execution_time')")
}

// differs holds what begin wanted against what the server says now.
func (m *mysqlServer) differs(ctx context.Context) (string, error) {
	have, err := m.session(ctx)
	if err != nil {
		return "", err
	}
	for name, want := range m.want {
		if have[name] != want {
			return fmt.Sprintf("%s reads back as %q, expected %q", name, have[name], want), nil
		}
	}
	return "", nil
}

func has(m map[string]string, name string) bool { _, ok := m[name]; return ok }
