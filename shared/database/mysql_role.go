package database

import (
	"context"
	"database/sql/driver"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// governed are the global privileges of a role that can be asked to look: those whose statements a read-only session refuses, and
// those that only show something (https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html,
// https://mariadb.com/kb/en/grant/#global-privileges). Any other one, also one that is not known here, reaches beyond a transaction:
// SUPER and its parts set global variables, FILE writes files, RELOAD, SHUTDOWN and CREATE USER speak for themselves.
var governed = []string{
	"USAGE", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE",
	"ALTER ROUTINE", "EXECUTE", "EVENT", "TRIGGER", "CREATE TEMPORARY TABLES", "LOCK TABLES", "DELETE HISTORY", "SHOW DATABASES", "SHOW CREATE ROUTINE",
	"SHOW_ROUTINE", "PROCESS", "REPLICATION CLIENT", "REPLICATION SLAVE", "BINLOG MONITOR", "SLAVE MONITOR", "REPLICA MONITOR",
}

// global is a line of SHOW GRANTS about every database: what is granted is in upper case, names are quoted. WITH GRANT OPTION follows
// at the end. The line may hold the password's hash, so it is never shown.
var global = regexp.MustCompile(`^GRANT ([A-Z0-9_, ]+) ON \*\.\* TO `)

// refuseWriters reads the privileges that are in force in this session. SHOW GRANTS speaks of the user, in MariaDB of the roles that
// are in force and of PUBLIC as well; MySQL wants to be told the roles
// (https://mariadb.com/kb/en/show-grants/, https://dev.mysql.com/doc/refman/8.4/en/show-grants.html). A role that could be taken with
// SET ROLE does not count: nothing but SELECT statements is asked.
func (m *mysqlServer) refuseWriters(ctx context.Context) error {
	grants, err := m.column(ctx, "SHOW GRANTS")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(grants, global.MatchString) {
		return &Refused{RoleRefused, "SHOW GRANTS tells no global privileges of the role: it cannot be told whether a read-only transaction holds it"}
	}
	have, err := m.pairs(ctx, "SHOW SESSION VARIABLES WHERE Variable_name = 'version'")
	if err != nil {
		return err
	}
	if !strings.Contains(have["version"], "MariaDB") {
		used, err := m.usedRoles(ctx)
		if err != nil {
			return err
		}
		grants = append(grants, used...)
	}
	if beyond := beyondTransaction(grants); len(beyond) > 0 {
		return &Refused{RoleRefused, fmt.Sprintf("the role has the global privileges %s: a read-only transaction does not hold them; use a role that may only SELECT", strings.Join(beyond, ", "))}
	}
	return nil
}

// usedRoles are the grants of the roles that are in force in a MySQL 8 session; an older one has no roles (error 1305 or a syntax
// error would tell, and refuse).
func (m *mysqlServer) usedRoles(ctx context.Context) ([]string, error) {
	v, err := m.pairs(ctx, "SHOW SESSION VARIABLES WHERE Variable_name = 'activate_all_roles_on_login'")
	if err != nil || len(v) == 0 {
		return nil, err
	}
	// As `role`@`host`, quoted, or NONE.
	roles, err := m.column(ctx, "SELECT CURRENT_ROLE()")
	if err != nil || len(roles) != 1 || roles[0] == "NONE" {
		return nil, err
	}
	return m.column(ctx, "SHOW GRANTS FOR CURRENT_USER() USING "+roles[0])
}

// beyondTransaction lists the global privileges that are not governed.
func beyondTransaction(grants []string) []string {
	var out []string
	for _, g := range grants {
		found := global.FindStringSubmatch(g)
		if found == nil {
			if strings.Contains(g, " ON *.* TO ") {
				out = append(out, "that are not understood")
			}
			continue
		}
		for p := range strings.SplitSeq(found[1], ",") { // MySQL's dynamic privileges have no space in between
			if p = strings.TrimSpace(p); !slices.Contains(governed, p) {
				out = append(out, p)
			}
		}
		if strings.HasSuffix(g, " WITH GRANT OPTION") {
			out = append(out, "GRANT OPTION")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// column reads the first column of every row.
func (m *mysqlServer) column(ctx context.Context, sql string) ([]string, error) {
	var out []string
	err := m.each(ctx, sql, func(row []driver.Value) {
		v, _ := text(row[0])
		out = append(out, string(v))
	}, new(int))
	return out, err
}
