package sample

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// ledgerChecksumSQL is the plan's checksum query.
const ledgerChecksumSQL = `SELECT MD5(GROUP_CONCAT(CONCAT_WS(':', id, account, amount_cents) ORDER BY id)) FROM entries WHERE id <= ?`

// onLedger gives fn a connection to one pod's server through the API server's port-forward.
func onLedger(ctx context.Context, c *cluster.Client, p *corev1.Pod, cr credentials, fn func(context.Context, *sql.Conn) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName, cfg.Net, cfg.Addr = cr.user, cr.password, LedgerDatabase, "tcp", net.JoinHostPort("pod", strconv.Itoa(LedgerPort))
	cfg.TLSConfig, cfg.MultiStatements, cfg.Logger = "preferred", true, &mysql.NopLogger{}
	// Times are sent, stored and read in UTC.
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	cfg.ParseTime, cfg.Loc = true, time.UTC
	// The connection lives as long as our ctx, not as the driver's for the dialling.
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return c.DialPod(ctx, p.Namespace, p.Name, p.UID, LedgerPort)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err == nil {
		err = fn(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("database of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return conn.Close()
}

// onEachLedger runs fn on every server of the ledger in a namespace, one after the other.
func onEachLedger(ctx context.Context, c *cluster.Client, namespace, secret string, fn func(context.Context, string, *sql.Conn) error) error {
	pods, cr, err := theLedger().reachable(ctx, c, namespace, secret)
	if err != nil {
		return err
	}
	for i := range pods {
		err := onLedger(ctx, c, &pods[i], cr, func(ctx context.Context, conn *sql.Conn) error { return fn(ctx, pods[i].Name, conn) })
		if err != nil {
			return err
		}
	}
	return nil
}

// seedLedger seeds every server that is not seeded, and returns the checksum of the entries.
func seedLedger(ctx context.Context, c *cluster.Client) (string, error) {
	reader, err := readCredentials(ctx, c, LedgerNamespace, LedgerReaderSecret)
	if err != nil {
		return "", err
	}
	seed := strings.NewReplacer("{{entries}}", strconv.Itoa(LedgerEntries), "{{database}}", mariadb.Identifier(LedgerDatabase),
		"{{reader}}", mariadb.Quote(reader.user), "{{password}}", mariadb.Quote(reader.password), "{{canary}}", mariadb.Quote(Canary)).Replace(ledgerSeedSQL)
	sum := ""
	err = onEachLedger(ctx, c, LedgerNamespace, LedgerRootSecret, func(ctx context.Context, pod string, conn *sql.Conn) error {
		// The role is the last thing a seed makes.
		var seeded bool
		if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) > 0 FROM mysql.global_priv WHERE User = ?", reader.user).Scan(&seeded); err != nil {
			return err
		}
		if !seeded {
			if _, err := conn.ExecContext(ctx, seed); err != nil {
				return err
			}
		}
		var s string
		if err := conn.QueryRowContext(ctx, ledgerChecksumSQL, LedgerEntries).Scan(&s); err != nil {
			return err
		}
		if sum != "" && s != sum {
			return fmt.Errorf("it holds other entries than the server before it, expected the same on all: reset the ledger")
		}
		sum = s
		return nil
	})
	return sum, err
}

// BeatLedger writes a time into the table heartbeat of each server of the ledger in a namespace.
func BeatLedger(ctx context.Context, c *cluster.Client, namespace string, at time.Time) error {
	return onEachLedger(ctx, c, namespace, LedgerRootSecret, func(ctx context.Context, _ string, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "INSERT INTO heartbeat VALUES (?)", at.UTC())
		return err
	})
}

// LedgerCounts counts the entries of each server of the ledger in a namespace, as the role that may only read.
func LedgerCounts(ctx context.Context, c *cluster.Client, namespace string) (map[string]int, error) {
	out := map[string]int{}
	err := onEachLedger(ctx, c, namespace, LedgerReaderSecret, func(ctx context.Context, pod string, conn *sql.Conn) error {
		var n int
		err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM entries").Scan(&n)
		out[pod] = n
		return err
	})
	return out, err
}

// ExecLedger runs statements as root on one pod of the ledger, and returns the rows that the first one changed.
func ExecLedger(ctx context.Context, c *cluster.Client, namespace, pod, statements string, args ...any) (int64, error) {
	var n int64
	err := QueryLedger(ctx, c, namespace, pod, func(ctx context.Context, conn *sql.Conn) error {
		r, err := conn.ExecContext(ctx, statements, args...)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	return n, err
}

// QueryLedger gives fn a connection to one pod's server as root.
func QueryLedger(ctx context.Context, c *cluster.Client, namespace, pod string, fn func(context.Context, *sql.Conn) error) error {
	cr, err := readCredentials(ctx, c, namespace, LedgerRootSecret)
	if err != nil {
		return err
	}
	p, err := cluster.Get[corev1.Pod](ctx, c, cluster.Pods, namespace, pod)
	if err != nil {
		return err
	}
	return onLedger(ctx, c, p, cr, fn)
}
