package nodeagent

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// mariaPort is what a container of the image listens on when it declares no port.
const mariaPort = 3306

// maria is the engine of MariaDBImage. It takes the image's variables MARIADB_ROOT_PASSWORD, MARIADB_DATABASE, MARIADB_USER and
// MARIADB_PASSWORD (https://hub.docker.com/_/mariadb), which count only while the volume is empty.
type maria struct {
	programs *binaries[mariadb.Programs]
}

// findMariaDB takes any version.
func findMariaDB(place string, runAs Identity) *binaries[mariadb.Programs] {
	return &binaries[mariadb.Programs]{find: func(ctx context.Context, _ string) (mariadb.Programs, error) {
		return mariadb.Finder{Place: place, MayEnter: runAs.CanEnter}.Find(ctx)
	}}
}

func (m *maria) prepare(ctx context.Context, on site) (*recipe, error) {
	programs, err := m.programs.of(ctx, "")
	if err != nil {
		return nil, err
	}
	d := mariaDir{site: on, programs: programs}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	return &recipe{name: "mariadb", version: "MariaDB " + programs.Version, listens: mariaPort,
		path: programs.Server, dir: d.data(), env: d.environ(), until: mariadb.ReadyLine,
		args:     func(port int) []string { return programs.ServerArgs(d.data(), port, d.keys()) },
		stopWith: syscall.SIGTERM, // https://mariadb.com/docs/server/server-management/starting-and-stopping-mariadb/mariadbd-options
	}, nil
}

func (*maria) answers(ctx context.Context, env map[string]string, port int) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	cfg.User, cfg.Passwd, cfg.Logger = "root", env["MARIADB_ROOT_PASSWORD"], &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	var conn driver.Conn
	var said *mysql.MySQLError
	switch conn, err = connector.Connect(ctx); {
	case err == nil:
		_ = conn.Close()
	case errors.As(err, &said): // it answers, if only that it does not know us
	default:
		return err
	}
	return nil
}
