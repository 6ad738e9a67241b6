package database

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-sql-driver/mysql"
)

// passing are the server's errors that may go away (https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html,
// https://mariadb.com/kb/en/mariadb-error-code-reference/): too many connections (also of the user, also by its limits), a shutdown in
// progress, network errors, and a connection that somebody killed.
var passing = []uint16{1040, 1203, 1226, 1053, 1152, 1158, 1159, 1160, 1161, 1927, 3168, 3169, 4031}

func passes(e *mysql.MySQLError) bool { return slices.Contains(passing, e.Number) }

// final are the driver's errors that no second try mends: the server wants a kind of authentication that is not spoken.
var final = []error{mysql.ErrCleartextPassword, mysql.ErrNativePassword, mysql.ErrOldPassword, mysql.ErrUnknownPlugin, mysql.ErrOldProtocol}

func (m *mysqlServer) classify(ctx context.Context, err error) error {
	var refused *Refused
	var gone *Unreachable
	var my *mysql.MySQLError
	switch {
	case errors.As(err, &refused), errors.As(err, &gone):
		return err
	case ctx.Err() != nil:
		return &Unreachable{fmt.Errorf("%w (%w)", err, context.Cause(ctx))}
	case errors.As(err, &my) && passes(my):
		return &Unreachable{errors.New(mysqlMessage(my))}
	case errors.As(err, &my):
		return errors.New(mysqlMessage(my))
	case slices.ContainsFunc(final, func(f error) bool { return errors.Is(err, f) }):
		return err
	default:
		return &Unreachable{err}
	}
}

func mysqlMessage(e *mysql.MySQLError) string {
	return named(e) + ": " + e.Message
}

// mysqlCode is a server's error without its words; "" for another error.
func mysqlCode(err error) string {
	var my *mysql.MySQLError
	if !errors.As(err, &my) {
		return ""
	}
	return "the server refused the query with " + named(my)
}

// named names an error; one that comes before the handshake has no SQLSTATE.
func named(e *mysql.MySQLError) string {
	if e.SQLState == [5]byte{} {
		return fmt.Sprintf("error %d", e.Number)
	}
	return fmt.Sprintf("error %d (SQLSTATE %s)", e.Number, e.SQLState[:])
}
