package sample

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/cluster"
)

// credentials are the two keys of a basic-auth Secret.
type credentials struct{ user, password string }

func readCredentials(ctx context.Context, c *cluster.Client, namespace, name string) (credentials, error) {
	s, err := cluster.Get[corev1.Secret](ctx, c, cluster.Secrets, namespace, name)
	if err != nil {
		return credentials{}, err
	}
	cr := credentials{string(s.Data[corev1.BasicAuthUsernameKey]), string(s.Data[corev1.BasicAuthPasswordKey])}
	if cr.user == "" || cr.password == "" {
		return cr, fmt.Errorf("the Secret %s/%s: expected the keys username and password", namespace, name)
	}
	return cr, nil
}

// connect opens a connection to a pod's server through the API server's port-forward. It ends with ctx.
func connect(ctx context.Context, c *cluster.Client, p *corev1.Pod, cr credentials) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("host=pod port=" + strconv.Itoa(Port) + " sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Password, cfg.Database = cr.user, cr.password, Database
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	// The connection lives as long as our ctx, not as pgx's for the dialling.
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return c.DialPod(ctx, p.Namespace, p.Name, p.UID, Port)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return conn, nil
}

// onEach runs fn on a connection to every pod of the shop at once.
func onEach(ctx context.Context, c *cluster.Client, namespace, secret string, fn func(context.Context, string, *pgx.Conn) error) error {
	pods, cr, err := shop().reachable(ctx, c, namespace, secret)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() {
			if err := onPod(ctx, c, &pods[i], cr, fn); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func onPod(ctx context.Context, c *cluster.Client, p *corev1.Pod, cr credentials, fn func(context.Context, string, *pgx.Conn) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := connect(ctx, c, p, cr)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := fn(ctx, p.Name, conn); err != nil {
		return fmt.Errorf("database of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// checksumSQL is the plan's checksum query.
const checksumSQL = `SELECT md5(string_agg(id || ':' || customer_id || ':' || amount_cents, ',' ORDER BY id)) FROM orders WHERE id <= $1`

// seedAll seeds every server that is not seeded, and returns the checksum of the orders, which is the same on all.
func seedAll(ctx context.Context, c *cluster.Client) (string, error) {
	reader, err := readCredentials(ctx, c, Namespace, ReaderSecret)
	if err != nil {
		return "", err
	}
	sql := strings.NewReplacer("{{customers}}", strconv.Itoa(Customers), "{{orders}}", strconv.Itoa(Orders),
		"{{database}}", pgx.Identifier{Database}.Sanitize(), "{{reader}}", pgx.Identifier{reader.user}.Sanitize(),
		"{{password}}", quote(reader.password), "{{canary}}", quote(Canary)).Replace(seedSQL)
	var mu sync.Mutex
	sums := map[string]string{}
	err = onEach(ctx, c, Namespace, AppSecret, func(ctx context.Context, pod string, conn *pgx.Conn) error {
		var seeded bool
		if err := conn.QueryRow(ctx, "SELECT to_regclass('public.orders') IS NOT NULL").Scan(&seeded); err != nil {
			return err
		}
		if !seeded {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		var sum string
		if err := conn.QueryRow(ctx, checksumSQL, Orders).Scan(&sum); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		sums[sum] = pod
		return nil
	})
	if err != nil {
		return "", err
	}
	if len(sums) != 1 {
		return "", fmt.Errorf("the servers hold different orders (%v), expected the same on all: reset the sample", sums)
	}
	for sum := range sums {
		return sum, nil
	}
	return "", nil
}

// Counts counts the orders of each pod of the shop in a namespace, through the API server's port-forward, as the role that may
// only read.
func Counts(ctx context.Context, kubeconfig, namespace string) (map[string]int, error) {
	c, err := cluster.FromKubeconfig(kubeconfig, "")
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := map[string]int{}
	err = onEach(ctx, c, namespace, ReaderSecret, func(ctx context.Context, pod string, conn *pgx.Conn) error {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		out[pod] = n
		return nil
	})
	return out, err
}

// quote makes a string literal (standard_conforming_strings, PostgreSQL's default: backslashes are just that).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Beat writes a time into the table heartbeat of each server of the shop in a namespace.
func Beat(ctx context.Context, c *cluster.Client, namespace string, at time.Time) error {
	return onEach(ctx, c, namespace, AppSecret, func(ctx context.Context, _ string, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO heartbeat VALUES ($1)", at)
		return err
	})
}

// Exec runs a statement as the database's owner on one pod of the shop, and returns the rows it changed.
func Exec(ctx context.Context, c *cluster.Client, namespace, pod, sql string, args ...any) (int64, error) {
	var n int64
	err := Query(ctx, c, namespace, pod, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Query gives fn a connection to one pod's server as the database's owner.
func Query(ctx context.Context, c *cluster.Client, namespace, pod string, fn func(context.Context, *pgx.Conn) error) error {
	cr, err := readCredentials(ctx, c, namespace, AppSecret)
	if err != nil {
		return err
	}
	p, err := cluster.Get[corev1.Pod](ctx, c, cluster.Pods, namespace, pod)
	if err != nil {
		return err
	}
	return onPod(ctx, c, p, cr, func(ctx context.Context, _ string, conn *pgx.Conn) error { return fn(ctx, conn) })
}
