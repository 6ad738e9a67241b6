package planinit

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/plan"
)

// dialect is how a database of one engine shows in a StatefulSet, and how it is asked.
type dialect struct {
	engine plan.Engine
	// images are words in an image's name, portNames in a port's.
	images, portNames []string
	defaultPort       int32
	// defaultName is a database that every role may connect to.
	defaultName string
	// The variables that hold the database's name, the password and the user.
	nameVars, passwordVars, userVars []string
	// itsUser warns of the user that these variables name.
	itsUser string
	tables  string
}

// Variables: https://hub.docker.com/_/postgres, https://hub.docker.com/_/mysql and https://hub.docker.com/_/mariadb ("Environment
// Variables"), and those of the common charts.
var (
	postgresDialect = dialect{
		engine: plan.PostgreSQL, images: []string{"postgres", "timescale", "patroni", "spilo", "pgvector", "postgis"},
		portNames: []string{"postgres", "pgsql", "db"}, defaultPort: 5432, defaultName: "postgres",
		nameVars:     []string{"POSTGRES_DB", "POSTGRESQL_DATABASE", "POSTGRES_DATABASE"},
		passwordVars: []string{"POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD", "POSTGRESQL_POSTGRES_PASSWORD", "PGPASSWORD"},
		userVars:     []string{"POSTGRES_USER", "POSTGRESQL_USERNAME", "PGUSER"},
		itsUser:      "its user is often a superuser",
		tables:       "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
	}
	mysqlDialect = dialect{
		engine: plan.MySQL, images: []string{"mysql", "mariadb", "percona", "vitess"},
		portNames: []string{"mysql", "mariadb", "db"}, defaultPort: 3306, defaultName: "information_schema",
		nameVars:     []string{"MYSQL_DATABASE", "MARIADB_DATABASE"},
		passwordVars: []string{"MYSQL_PASSWORD", "MARIADB_PASSWORD", "MYSQL_ROOT_PASSWORD", "MARIADB_ROOT_PASSWORD"},
		userVars:     []string{"MYSQL_USER", "MARIADB_USER"},
		itsUser:      "the gate refuses root",
		tables:       "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
	}
)

// container is the one that looks like a database, and of which engine: by its image, else a port, else a variable. When nothing tells, it
// is the first one, and PostgreSQL.
func container(sts *appsv1.StatefulSet) (c corev1.Container, d dialect, note string) {
	dialects, all := []dialect{postgresDialect, mysqlDialect}, sts.Spec.Template.Spec.Containers
	for _, sign := range []func(corev1.Container, dialect) (note string){byImage, byPort, byVariable} {
		for _, c := range all {
			for _, d := range dialects {
				if note := sign(c, d); note != "" && !says(c.Image, []string{"exporter"}) {
					return c, d, note
				}
			}
		}
	}
	if len(all) > 0 {
		c = all[0]
	}
	return c, postgresDialect, Check + ": image " + c.Image + " tells nothing"
}

func byImage(c corev1.Container, d dialect) string {
	if !says(c.Image, d.images) {
		return ""
	}
	return "from image " + c.Image
}

func byPort(c corev1.Container, d dialect) string {
	if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == d.defaultPort }) {
		return ""
	}
	return fmt.Sprintf("%s: from port %d; image %s tells nothing", Check, d.defaultPort, c.Image)
}

func byVariable(c corev1.Container, d dialect) string {
	for _, e := range c.Env {
		if slices.Contains(slices.Concat(d.nameVars, d.passwordVars, d.userVars), e.Name) {
			return fmt.Sprintf("%s: from variable %s; image %s tells nothing", Check, e.Name, c.Image)
		}
	}
	return ""
}

// data proposes what proves the data: nothing in the cluster tells where it is.
func (w *writer) data() {
	w.note(3, "What proves the data. With the queries above alone, a recovered workload is reported as one whose data nothing proved.")
	w.note(3, "A query proves rows with kind: RowCount (atLeast or equals above 0) or kind: Checksum (equals).")
	w.note(3, "The newest row's time is the measured RPO; a time without a zone is UTC.")
	w.note(3, "heartbeat: {sql: 'SELECT max(at) FROM heartbeat'}")
	w.note(3, "A value that must come back byte by byte, by its digest: printf %%s VALUE | sha256sum")
	w.note(3, "canary: {sql: 'SELECT value FROM canary WHERE id = 1', sha256: '%s'}", strings.Repeat("0", 64))
}

// velero proposes the cluster's Velero backups as the inventory.
func (w *writer) velero(v *Velero) {
	if v == nil {
		return
	}
	w.note(2, "Velero was found. To restore objects and volumes from its backups, put this in the place of manifests:")
	w.note(2, "velero:")
	if len(v.Locations) == 0 {
		w.note(2, "  location: s3://BUCKET/PREFIX  # %s: no BackupStorageLocation was found", FillIn)
	}
	for i, l := range v.Locations {
		if i > 0 {
			w.note(2, "  or BackupStorageLocation %s: s3://%s", l.Name, strings.TrimSuffix(l.Bucket+"/"+l.Prefix, "/"))
			continue
		}
		w.note(2, "  location: %s", quote("s3://"+strings.TrimSuffix(l.Bucket+"/"+l.Prefix, "/")))
		if l.Region != "" {
			w.note(2, "  region: %s", quote(l.Region))
		}
		if l.Endpoint != "" {
			w.note(2, "  endpoint: %s", quote(l.Endpoint))
		}
		w.note(2, "  storageLocation: %s", quote(l.Name))
	}
	w.note(2, "  namespace: %s", quote(v.Namespace))
	for i, s := range v.Schedules {
		if i == 0 {
			w.note(2, "  schedule: %s  # only its backups; leave it out for every backup of the namespace", quote(s))
			continue
		}
		w.note(2, "  or Schedule %s", s)
	}
	w.note(2, "  rehearsal: %s  # or %s", plan.RehearsalStops, plan.RehearsalReports)
	w.note(2, "With a key, and manifests that are signed when a backup completes, a flipped byte is found:")
	w.note(2, "  integrity: {key: KEY, manifest: %s}  # %s: the ARN of a KMS key, or a PEM file", plan.ManifestRequired, FillIn)
}
