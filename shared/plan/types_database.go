package plan

// Engine of the database.
type Engine string

// PostgreSQL is validated by BEGIN READ ONLY, MySQL and MariaDB (engine mysql) by START TRANSACTION READ ONLY.
const (
	PostgreSQL Engine = "postgresql"
	MySQL      Engine = "mysql"
)

// Database is how the gate reaches and asks the workload's database.
type Database struct {
	Engine Engine `yaml:"engine" json:"engine"`
	// Port of the database in the pod.
	Port int `yaml:"port" json:"port"`
	// Name of the database to connect to.
	Name        string      `yaml:"name" json:"name"`
	Credentials Credentials `yaml:"credentials" json:"credentials"`
	// Pod tells which pods validate: "primary" (the one pod that is no replica), "each", or an ordinal ("0").
	Pod string `yaml:"pod,omitempty" json:"pod,omitempty"`
	// StatementTimeout bounds each statement on the server.
	StatementTimeout Duration `yaml:"statementTimeout,omitempty" json:"statementTimeout,omitzero"`
	// TLS tells whether the connection is encrypted. The way to the pod is the Kubernetes API's own, so the server's certificate is not
	// verified.
	TLS     TLSMode `yaml:"tls,omitempty" json:"tls,omitempty"`
	Queries []Query `yaml:"queries" json:"queries"`
	// Heartbeat tells how old the newest row is: the measured RPO. One from after what the data was restored from is the copy's own and
	// measures nothing; the restore point's age takes its place, named as such.
	Heartbeat *Heartbeat `yaml:"heartbeat,omitempty" json:"heartbeat,omitempty"`
	// Canary is a value that must come back byte by byte.
	Canary *Canary `yaml:"canary,omitempty" json:"canary,omitempty"`
}

// TLSMode is whether the gate's connection is encrypted.
type TLSMode string

const (
	// TLSPrefer: when the server offers it. TLSRequire: or there is no connection.
	TLSPrefer  TLSMode = "Prefer"
	TLSRequire TLSMode = "Require"
)

// Heartbeat is a query for the time of the newest row that the workload writes regularly. Its age, when the run is triggered, is the measured
// RPO; objectives.rpo is compared with it.
//
// Data that was restored from a backup or a snapshot is no newer than that. A heartbeat that is from later was written by the restored copy
// itself: the RPO is not measured from the data then, and the restore point's age takes its place, named as such. To have it measured, keep the
// writer from writing where it does not serve, or query a row that only production writes. Where a recover mends the workload on its own
// volumes, nothing was restored, and a heartbeat after the trigger is an RPO of 0.
type Heartbeat struct {
	// SQL returns one row with one column: a time with its zone, a time in UTC, or seconds since 1970.
	SQL string `yaml:"sql" json:"sql"`
}

// Canary is a query for a known value. The value is in no report: only its digest is compared and named.
type Canary struct {
	// SQL returns one row with one column.
	SQL string `yaml:"sql" json:"sql"`
	// SHA256 is the value's digest as 64 hex digits, of the bytes as the server sends them as text.
	SHA256 string `yaml:"sha256" json:"sha256"`
}

// Credentials are named, never written into the plan. Exactly one of its fields is set.
type Credentials struct {
	Secret *SecretRef `yaml:"secret,omitempty" json:"secret,omitempty"`
	// Environment names two variables of the process that runs the gate.
	Environment *EnvironmentRef `yaml:"environment,omitempty" json:"environment,omitempty"`
	// SecretsManager is a secret of AWS Secrets Manager whose value is a JSON object, as RDS writes it.
	SecretsManager *SecretsManagerRef `yaml:"secretsManager,omitempty" json:"secretsManager,omitempty"`
}

// SecretsManagerRef names a secret in AWS Secrets Manager.
type SecretsManagerRef struct {
	// ID is the secret's name or ARN.
	ID string `yaml:"id" json:"id"`
	// Region of the secret; empty: that of the ARN, else that of the process.
	Region      string `yaml:"region,omitempty" json:"region,omitempty"`
	UsernameKey string `yaml:"usernameKey,omitempty" json:"usernameKey,omitempty"`
	PasswordKey string `yaml:"passwordKey,omitempty" json:"passwordKey,omitempty"`
}

// SecretRef is a Kubernetes Secret in the namespace that is validated (the drill's own copy in a drill).
type SecretRef struct {
	Name        string `yaml:"name" json:"name"`
	UsernameKey string `yaml:"usernameKey,omitempty" json:"usernameKey,omitempty"`
	PasswordKey string `yaml:"passwordKey,omitempty" json:"passwordKey,omitempty"`
}

// EnvironmentRef names environment variables.
type EnvironmentRef struct {
	Username string `yaml:"username" json:"username"`
	Password string `yaml:"password" json:"password"`
}

// QueryKind is what a query says of the data.
type QueryKind string

const (
	// SmokeQuery shows that the schema is there and answers; it proves nothing about the rows.
	SmokeQuery QueryKind = "Smoke"
	// RowCountQuery and ChecksumQuery speak of the rows themselves: a whole number that an empty table does not meet, and a text that must be
	// equal.
	RowCountQuery QueryKind = "RowCount"
	ChecksumQuery QueryKind = "Checksum"
)

// Query is one validation query: one row, one column, compared as text or number.
type Query struct {
	// Name of the query in reports, its own within the plan.
	Name string `yaml:"name" json:"name"`
	// Kind is Smoke unless the query proves something about the data. A recovered workload whose plan has no query of another kind, no
	// heartbeat and no canary is reported as one whose data nothing proved.
	Kind QueryKind `yaml:"kind,omitempty" json:"kind,omitempty"`
	// SQL runs in a read-only transaction and returns one row with one column.
	SQL    string `yaml:"sql" json:"sql"`
	Expect Expect `yaml:"expect" json:"expect"`
}

// Expect is a query's expectation. Exactly one field is set.
type Expect struct {
	Equals  *string  `yaml:"equals,omitempty" json:"equals,omitempty"`
	AtLeast *float64 `yaml:"atLeast,omitempty" json:"atLeast,omitempty"`
	AtMost  *float64 `yaml:"atMost,omitempty" json:"atMost,omitempty"`
	// Matches is a regular expression (RE2) that the whole text must match.
	Matches *string `yaml:"matches,omitempty" json:"matches,omitempty"`
}
