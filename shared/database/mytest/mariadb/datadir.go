package mariadb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Accounts of a new server, as the variables of the same names make them in the docker image
// (https://mariadb.com/docs/server/server-management/automated-mariadb-deployment-and-administration/docker-and-mariadb/mariadb-server-docker-official-image-environment-variables).
type Accounts struct {
	// RootPassword is that of root, who may come from everywhere; it must not be empty.
	RootPassword string
	// Database is made when not empty.
	Database string
	// User, with Password, has all rights in Database.
	User, Password string
}

// ReadyLine is what the server's log says when it takes connections, StoppedLine when it has shut down cleanly, and RecoveryLine when
// it found a directory that was not shut down.
const (
	ReadyLine    = "ready for connections."
	StoppedLine  = "Shutdown complete"
	RecoveryLine = "Starting crash recovery"
)

// scripts lists the SQL scripts of a new data directory, in the order in which mariadb-install-db runs them. The help texts are left
// out: nobody reads them here, and they take most of the time.
func scripts(share string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(share, "english", "errmsg.sys")); err != nil {
		return nil, err
	}
	var out []string
	for _, names := range [][]string{
		{"mariadb_system_tables.sql", "mysql_system_tables.sql"},
		{"mariadb_performance_tables.sql", "mysql_performance_tables.sql"},
		{"mariadb_system_tables_data.sql", "mysql_system_tables_data.sql"},
		{"maria_add_gis_sp_bootstrap.sql"},
		{"mariadb_sys_schema.sql", "mysql_sys_schema.sql"},
	} {
		found := false
		for _, n := range names {
			if p := filepath.Join(share, n); !found && readable(p) {
				out, found = append(out, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s holds no %s", share, names[0])
		}
	}
	return out, nil
}

func readable(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular()
}

// InitArgs are the server's arguments that make a data directory from InitSQL, which it is given on its standard input.
func (p Programs) InitArgs(data string) []string {
	return append(p.common(data), "--bootstrap", "--log-warnings=0", "--enforce-storage-engine=", "--max-allowed-packet=8M", "--net-buffer-length=16K")
}

// InitSQL makes the system tables and the accounts.
func (p Programs) InitSQL(a Accounts) (string, error) {
	accounts, err := a.sql()
	if err != nil {
		return "", err
	}
	files, err := scripts(p.Share)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	// As mariadb-install-db does for root with a password of its own, not the operating system's word.
	b.WriteString("create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n")
	for _, f := range files {
		s, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		b.Write(s)
		b.WriteByte('\n')
	}
	b.WriteString(accounts)
	return b.String(), nil
}

func (a Accounts) sql() (string, error) {
	if a.RootPassword == "" {
		return "", errors.New("root has no password, expected one")
	}
	if (a.User == "") != (a.Password == "") {
		return "", errors.New("expected a user and its password, or neither")
	}
	for _, s := range []string{a.RootPassword, a.Database, a.User, a.Password} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errors.New("a name or password of the new server holds a control character")
		}
	}
	// The scripts make root again for each address of this machine, and a user without a name, none with a password.
	out := "use mysql;\nDELETE FROM global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\nFLUSH PRIVILEGES;\n" +
		"ALTER USER 'root'@'localhost' IDENTIFIED BY " + Quote(a.RootPassword) + ";\n" +
		"CREATE USER 'root'@'%' IDENTIFIED BY " + Quote(a.RootPassword) + ";\n" +
		"GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION;\n"
	if a.Database != "" {
		out += "CREATE DATABASE IF NOT EXISTS " + Identifier(a.Database) + ";\n"
	}
	if a.User != "" {
		who := Quote(a.User) + "@'%'"
		out += "CREATE USER " + who + " IDENTIFIED BY " + Quote(a.Password) + ";\n"
		if a.Database != "" {
			// In a grant, _ and % are wildcards.
			pattern := strings.NewReplacer("_", `\_`, "%", `\%`).Replace(a.Database)
			out += "GRANT ALL PRIVILEGES ON " + Identifier(pattern) + ".* TO " + who + ";\n"
		}
	}
	return out, nil
}

// Quote makes a string literal.
func Quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// Identifier quotes a name.
func Identifier(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// ServerArgs are the arguments of a server on the loopback interface, which offers TLS with the certificate of a directory when that is
// not empty.
func (p Programs) ServerArgs(data string, port int, tls string) []string {
	args := append(p.common(data), "--bind-address=127.0.0.1", "--port="+strconv.Itoa(port), "--skip-name-resolve",
		"--pid-file=mariadbd.pid", "--max-connections=50", "--character-set-server=utf8mb4", "--performance-schema=OFF")
	if tls != "" {
		args = append(args, "--ssl-cert="+filepath.Join(tls, CertificateFile), "--ssl-key="+filepath.Join(tls, KeyFile))
	}
	return args
}

// common are the settings that the first start and every later one must share. A commit is written before it is answered, so a copy of
// the running server's directory, made at one instant, holds every one
// (https://mariadb.com/docs/server/server-usage/storage-engines/innodb/innodb-system-variables#innodb_flush_log_at_trx_commit).
func (p Programs) common(data string) []string {
	return []string{"--no-defaults", "--basedir=" + p.Base, "--datadir=" + data, "--lc-messages-dir=" + p.Share,
		"--character-sets-dir=" + filepath.Join(p.Share, "charsets"),
		// No socket: a file of its kind cannot be copied.
		"--socket=",
		"--innodb-flush-log-at-trx-commit=1", "--innodb-use-native-aio=0",
		// Small: the directory is copied often.
		"--innodb-log-file-size=8M", "--innodb-undo-tablespaces=0", "--innodb-buffer-pool-size=32M", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=8M"}
}
