package s3store

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

type kind string

const (
	kindIntent kind = "intent"
	kindDone   kind = "done"
	kindUndone kind = "undone"
)

// name is that of one record's object.
type name struct {
	seq  int
	kind kind
	try  int
}

func (n name) String() string {
	if n.try > 1 {
		return fmt.Sprintf("%06d-%s-%d.json", n.seq, n.kind, n.try)
	}
	return fmt.Sprintf("%06d-%s.json", n.seq, n.kind)
}

var nameForm = regexp.MustCompile(`^([0-9]{6,9})-(intent|done|undone)(?:-([0-9]{1,4}))?\.json$`)

func parseName(s string) (name, error) {
	m := nameForm.FindStringSubmatch(s)
	if m == nil {
		return name{}, fmt.Errorf("%q: expected the name of a record, such as 000001-intent.json", s)
	}
	n := name{kind: kind(m[2]), try: 1}
	n.seq, _ = strconv.Atoi(m[1]) // at most nine digits
	if m[3] != "" {
		n.try, _ = strconv.Atoi(m[3]) // at most four digits
	}
	if n.String() != s || n.kind == kindIntent && n.try > 1 {
		return name{}, fmt.Errorf("%q: expected the name of a record, such as %s", s, name{n.seq, n.kind, 1})
	}
	return n, nil
}

func (n name) compare(o name) int {
	if first := (n.kind == kindIntent); first != (o.kind == kindIntent) {
		if first {
			return -1
		}
		return 1
	}
	return cmp.Or(n.seq-o.seq, strings.Compare(string(n.kind), string(o.kind)), n.try-o.try)
}
