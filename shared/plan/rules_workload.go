package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// SQLLimit is the most bytes of a validation query, QueryLimit the most queries: their results share one section.
const (
	SQLLimit   = 8 << 10
	QueryLimit = 20
)

func (c *checker) workload(w *Workload, path string) {
	c.label(w.Namespace, path+".namespace")
	c.subdomain(w.StatefulSet, path+".statefulSet")
	c.database(&w.Database, path+".database")
}

var ordinal = regexp.MustCompile(`^(0|[1-9][0-9]{0,3})$`)

func (c *checker) database(db *Database, path string) {
	c.enum(string(db.Engine), path+".engine", string(PostgreSQL), string(MySQL))
	c.port(db.Port, path+".port")
	c.line(db.Name, path+".name")
	c.databaseName(db, path+".name")
	c.credentials(&db.Credentials, path+".credentials")
	if db.Pod != "" && db.Pod != "primary" && db.Pod != "each" && !ordinal.MatchString(db.Pod) {
		c.add(path+".pod", db.Pod, "does not name a pod", `primary, each, or an ordinal in quotes such as "0"`)
	}
	c.enum(string(db.TLS), path+".tls", string(TLSPrefer), string(TLSRequire))
	c.queries(db.Queries, path+".queries")
	if h := db.Heartbeat; h != nil {
		c.sql(h.SQL, path+".heartbeat.sql")
	}
	if k := db.Canary; k != nil {
		c.sql(k.SQL, path+".canary.sql")
		c.matches(k.SHA256, path+".canary.sha256", hexDigest, "64 lower-case hex digits")
	}
}

// databaseName: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS (NAMEDATALEN),
// https://dev.mysql.com/doc/refman/8.4/en/identifier-length.html.
func (c *checker) databaseName(db *Database, path string) {
	switch {
	case db.Engine == MySQL && utf8.RuneCountInString(db.Name) > 64:
		c.add(path, db.Name, "is too long", "at most 64 characters, MySQL's longest name")
	case db.Engine != MySQL && len(db.Name) > 63:
		c.add(path, db.Name, "is too long", "at most 63 bytes, PostgreSQL's longest name")
	}
}

func (c *checker) credentials(cr *Credentials, path string) {
	if s := cr.Secret; s != nil {
		c.subdomain(s.Name, path+".secret.name")
		c.secretKey(s.UsernameKey, path+".secret.usernameKey")
		c.secretKey(s.PasswordKey, path+".secret.passwordKey")
	}
	if e := cr.Environment; e != nil {
		c.matches(e.Username, path+".environment.username", variable, "a variable's name such as SHOP_DB_USER")
		c.matches(e.Password, path+".environment.password", variable, "a variable's name such as SHOP_DB_PASSWORD")
	}
	if m := cr.SecretsManager; m != nil {
		c.secretsManager(m, path+".secretsManager")
	}
	c.one(path, map[string]bool{"secret": cr.Secret != nil, "environment": cr.Environment != nil, "secretsManager": cr.SecretsManager != nil},
		"secret", "environment", "secretsManager")
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (Name); an ARN ends in six more characters. Secrets
// that another service manages have a '!' (rds!db-..., https://docs.aws.amazon.com/secretsmanager/latest/userguide/service-linked-secrets.html).
var (
	secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)
	secretARN  = regexp.MustCompile(`^arn:aws(?:-[a-z]+)*:secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]{1,519}$`)
)

func (c *checker) secretsManager(m *SecretsManagerRef, path string) {
	c.matches(m.Region, path+".region", awsRegion, "an AWS Region such as eu-central-1")
	found := secretARN.FindStringSubmatch(m.ID)
	switch {
	case m.ID == "":
	case found == nil && !secretName.MatchString(m.ID):
		c.add(path+".id", m.ID, "is not a secret of Secrets Manager", "its name, or arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
	case found != nil && m.Region != "" && m.Region != found[1]:
		c.add(path+".region", m.Region, "is not the Region of the secret's ARN", found[1]+", or no region")
	}
	c.line(m.UsernameKey, path+".usernameKey")
	c.line(m.PasswordKey, path+".passwordKey")
}

func (c *checker) secretKey(s, path string) {
	if s != "" && len(validation.IsConfigMapKey(s)) > 0 {
		c.add(path, s, "is not a key of a Secret", "letters, digits, '-', '_' and '.'")
	}
}

func (c *checker) queries(qs []Query, path string) {
	if len(qs) > QueryLimit {
		c.add(path, strconv.Itoa(len(qs)), "has too many queries", fmt.Sprintf("at most %d", QueryLimit))
		return
	}
	first := map[string]int{}
	for i, q := range qs {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.line(q.Name, at+".name")
		if len(q.Name) > 63 {
			c.add(at+".name", q.Name, "is too long", "at most 63 bytes")
		}
		if j, dup := first[q.Name]; dup && q.Name != "" {
			c.add(at+".name", q.Name, fmt.Sprintf("is the name of %s[%d] too", path, j), "a name of its own")
		} else {
			first[q.Name] = i
		}
		c.enum(string(q.Kind), at+".kind", string(SmokeQuery), string(RowCountQuery), string(ChecksumQuery))
		c.sql(q.SQL, at+".sql")
		c.expect(&q.Expect, at+".expect")
		c.telling(&q, at+".expect")
	}
}

// telling refuses an expectation that a workload without its data would meet, of a query that is to prove something about the data.
func (c *checker) telling(q *Query, path string) {
	e := &q.Expect
	switch {
	case q.Kind == RowCountQuery && e.Equals != nil && !whole.MatchString(*e.Equals):
		c.add(path+".equals", *e.Equals, "is not a number of rows", "digits, for kind is RowCount")
	case q.Kind == RowCountQuery && e.meets0():
		c.add(path, "", "is met by an empty table", "equals or atLeast above 0, or kind Smoke")
	case q.Kind == ChecksumQuery && e.Equals == nil && (e.AtLeast != nil || e.AtMost != nil || e.Matches != nil):
		c.add(path, "", "compares with no checksum", "equals, for kind is Checksum")
	}
}

var whole = regexp.MustCompile(`^[0-9]+$`)

func (e *Expect) meets0() bool {
	if e.Matches != nil {
		re, err := regexp.Compile(`\A(?:` + *e.Matches + `)\z`)
		return err == nil && re.MatchString("0")
	}
	return (e.AtLeast != nil && *e.AtLeast <= 0) || (e.AtMost != nil && *e.AtMost >= 0) || (e.Equals != nil && strings.Trim(*e.Equals, "0") == "")
}

func (c *checker) sql(q, at string) {
	if q != "" && strings.Trim(q, " \t\r\n;") == "" {
		c.add(at, "", "is empty", "a query that returns one row with one column")
	}
	if strings.ContainsRune(q, 0) {
		c.add(at, q, "has a zero byte", "text")
	}
	if len(q) > SQLLimit {
		c.add(at, q, "is too long", fmt.Sprintf("at most %d bytes", SQLLimit))
	}
}

func (c *checker) expect(e *Expect, path string) {
	if e.Matches != nil {
		if _, err := regexp.Compile(*e.Matches); err != nil {
			c.add(path+".matches", *e.Matches, "is not a regular expression", "RE2 syntax; "+err.Error())
		}
	}
	c.one(path, map[string]bool{"equals": e.Equals != nil, "atLeast": e.AtLeast != nil, "atMost": e.AtMost != nil,
		"matches": e.Matches != nil}, "equals", "atLeast", "atMost", "matches")
}
