package database

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// ask sets a savepoint, lets the server tell that the query is a SELECT, and asks it.
func (m *mysqlServer) ask(ctx context.Context, sql string) (answer, error) {
	if err := m.exec(ctx, "SAVEPOINT fallback_check"); err != nil {
		return answer{}, err
	}
	sql = strings.TrimRight(sql, " \t\r\n;")
	if err := m.onlySelect(ctx, sql); err != nil {
		return refusedBy(ctx, err)
	}
	var a answer
	rows, cols := 0, 0
	err := m.each(ctx, sql, func(row []driver.Value) {
		if rows, cols = rows+1, len(row); rows == 1 && cols == 1 {
			a.value, a.rounded = text(row[0])
			a.null = row[0] == nil
		}
	}, &cols)
	if err == nil && (rows != 1 || cols != 1) {
		err = &shapeError{rows, cols}
	}
	if err != nil {
		return refusedBy(ctx, err)
	}
	return a, nil
}

// refusedBy makes an answer of what the server says against a query.
func refusedBy(ctx context.Context, err error) (answer, error) {
	var my *mysql.MySQLError
	var shape *shapeError
	var not *notSelect
	switch {
	case errors.As(err, &not):
		return answer{refusal: not.Error(), code: mysqlCode(not.err) + ": it is no SELECT of one column"}, nil
	case errors.As(err, &my) && !passes(my) && ctx.Err() == nil:
		return answer{refusal: mysqlMessage(my), code: mysqlCode(err)}, nil
	case errors.As(err, &shape):
		return answer{refusal: shape.Error(), code: shape.Error()}, nil
	}
	return answer{}, err
}

// notSelect tells that a statement is good, but not a SELECT.
type notSelect struct{ err *mysql.MySQLError }

func (n *notSelect) Error() string {
	return "it is not a SELECT of one column, and nothing else is asked: the server does not take it as a subquery: " + mysqlMessage(n.err)
}

// onlySelect has the query prepared, which does not run it, as a subquery. When the server does not take it so, the query alone is
// prepared: the server tells of a mistake in it, or that the read-only transaction refuses it; else it is another kind of statement.
func (m *mysqlServer) onlySelect(ctx context.Context, sql string) error {
	wrapped := m.prepare(ctx, "SELECT * FROM (\n"+sql+"\n) AS fallback_check")
	var my *mysql.MySQLError
	if !errors.As(wrapped, &my) {
		return wrapped
	}
	if err := m.prepare(ctx, sql); err != nil {
		return err
	}
	return &notSelect{my}
}

func (m *mysqlServer) prepare(ctx context.Context, sql string) error {
	st, err := m.conn.PrepareContext(ctx, sql)
	if err != nil {
		return err
	}
	return st.Close()
}

// still: a transaction that was ended has lost its savepoint (error 1305).
func (m *mysqlServer) still(ctx context.Context) (why string, err error) {
	err = m.exec(ctx, "ROLLBACK TO SAVEPOINT fallback_check")
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return "ended the read-only transaction: " + mysqlMessage(my), nil
	}
	if err != nil {
		return "", err
	}
	why, err = m.differs(ctx)
	if why != "" {
		why = "left the transaction as another one: " + why
	}
	return why, err
}

func (m *mysqlServer) end(ctx context.Context) { _ = m.exec(ctx, "ROLLBACK") }

func (m *mysqlServer) exec(ctx context.Context, sql string) error {
	return m.each(ctx, sql, func([]driver.Value) {}, new(int))
}

// pairs reads rows of a name and a value.
func (m *mysqlServer) pairs(ctx context.Context, sql string) (map[string]string, error) {
	out := map[string]string{}
	err := m.each(ctx, sql, func(row []driver.Value) {
		if len(row) == 2 {
			name, _ := text(row[0])
			value, _ := text(row[1])
			out[string(name)] = string(value)
		}
	}, new(int))
	return out, err
}

// each runs a single statement, as text, and visits the rows, whose values live as long as the visit.
func (m *mysqlServer) each(ctx context.Context, sql string, visit func([]driver.Value), columns *int) (err error) {
	rows, err := m.conn.QueryContext(ctx, sql, nil)
	if err != nil {
		return err
	}
	defer func() {
		if closed := rows.Close(); err == nil {
			err = closed
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	*columns = len(row)
	for len(row) > 0 {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		visit(row)
	}
	return nil
}

// text is a value as the server sent it. The driver makes numbers of integers and floats: an integer's digits are the same again
// (but for ZEROFILL), a float's may not be.
func text(v driver.Value) (value []byte, rounded bool) {
	switch v := v.(type) {
	case nil:
		return nil, false
	case []byte:
		return bytes.Clone(v), false
	case string:
		return []byte(v), false
	case int64:
		return strconv.AppendInt(nil, v, 10), false
	case uint64:
		return strconv.AppendUint(nil, v, 10), false
	case float32:
		return strconv.AppendFloat(nil, float64(v), 'f', -1, 32), true
	case float64:
		return strconv.AppendFloat(nil, v, 'f', -1, 64), true
	default:
		return fmt.Append(nil, v), true
	}
}
