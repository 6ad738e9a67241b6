package planinit

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fallbackchain.io/fallback/shared/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

func secretKey(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

// shop is a workload as people have them: everything can be read from it.
func shop() Live {
	sts := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-db"}}
	sts.Spec.Replicas = ptr(int32(3))
	sts.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "metrics", Image: "quay.example/postgres-exporter:0.15", Ports: []corev1.ContainerPort{{ContainerPort: 9187}}},
		{Name: "db", Image: "postgres:15.8", Ports: []corev1.ContainerPort{{Name: "pg", ContainerPort: 9000}, {Name: "postgresql", ContainerPort: 5433}},
			Env: []corev1.EnvVar{{Name: "POSTGRES_DB", Value: "shop"}, {Name: "POSTGRES_USER", ValueFrom: secretKey("shop-db", "user")},
				{Name: "POSTGRES_PASSWORD", ValueFrom: secretKey("shop-db", "pass")}}},
	}
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	claim.Spec.StorageClassName = ptr("fast")
	sts.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
	old := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-shop-db-0"}}
	old.Spec.StorageClassName = ptr("slow")
	other := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "cache-0"}}
	other.Spec.StorageClassName = ptr("scratch")
	hpa := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-db"}}
	hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "shop-db"}
	web := hpa.DeepCopy()
	web.Name, web.Spec.ScaleTargetRef.Kind, web.Spec.ScaleTargetRef.Name = "web", "Deployment", "web"
	csi := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "ebs-csi-controller"}}
	csi.Spec.Template.Spec.Containers = []corev1.Container{{Name: "csi-provisioner", Image: "registry.example/csi-provisioner:v6"}}
	web2 := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	return Live{
		StatefulSet: sts,
		Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "shop-db"}, Spec: corev1.ServiceSpec{ClusterIP: "None",
			Ports: []corev1.ServicePort{{Port: 5432, TargetPort: intstr.FromString("postgresql")}}}}},
		Secrets:         []Secret{{Name: "shop-db", Type: corev1.SecretTypeOpaque, Keys: []string{"pass", "user"}}, {Name: "token", Type: corev1.SecretTypeServiceAccountToken, Keys: []string{"token"}}},
		Claims:          []corev1.PersistentVolumeClaim{old, other},
		StorageClasses:  []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "ebs.csi.aws.com"}, {ObjectMeta: metav1.ObjectMeta{Name: "slow"}, Provisioner: "ebs.csi.aws.com"}},
		HPAs:            []autoscalingv2.HorizontalPodAutoscaler{hpa, *web},
		SnapshotClasses: []SnapshotClass{{"other", "other.example"}, {"ebs", "ebs.csi.aws.com"}},
		Deployments:     []appsv1.Deployment{web2, csi},
		Kubeconfig:      "/home/me/.kube/config",
		Context:         "arn:aws:eks:eu-central-1:123456789012:cluster/prod",
	}
}

// bare says nothing of itself.
func bare() Live {
	sts := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "things", Name: "a-stateful-set-with-a-name.that.is-long"}}
	sts.Spec.Template.Spec.Containers = []corev1.Container{{Name: "db", Image: "mysql:8"}}
	return Live{StatefulSet: sts}
}

// owned belongs to an operator, KEDA, Flux and Argo CD at once.
func owned() Live {
	live := shop()
	live.StatefulSet.OwnerReferences = []metav1.OwnerReference{{APIVersion: "db.example/v1", Kind: "Postgres", Name: "shop", Controller: ptr(true)}}
	live.StatefulSet.Labels = map[string]string{fluxKustomization + "name": "apps", fluxKustomization + "namespace": "flux-system",
		fluxHelmRelease + "name": "shop", fluxHelmRelease + "namespace": "shop", argoInstance: "shop"}
	live.HPAs[0].OwnerReferences = []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "shop-db", Controller: ptr(true)}}
	live.SnapshotClasses = append(live.SnapshotClasses, SnapshotClass{"ebs-2", "ebs.csi.aws.com"})
	live.Deployments[1].Name = "storage"
	live.Secrets = []Secret{{Name: "reader", Keys: []string{"password", "username"}}}
	live.StatefulSet.Spec.Template.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "POSTGRES_DB", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "database"}}}}
	return live
}

// ledger is a MariaDB beside an exporter, in a cluster with Velero.
func ledger() Live {
	live := shop()
	live.StatefulSet.Namespace, live.StatefulSet.Name = "ledger", "ledger-db"
	live.HPAs, live.Services = nil, nil
	live.StatefulSet.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "metrics", Image: "quay.example/mysqld-exporter:0.15", Ports: []corev1.ContainerPort{{ContainerPort: 9104}}},
		{Name: "db", Image: "mariadb:10.11", Ports: []corev1.ContainerPort{{Name: "mysql", ContainerPort: 3307}},
			Env: []corev1.EnvVar{{Name: "MARIADB_DATABASE", Value: "ledger"}, {Name: "MARIADB_ROOT_PASSWORD", ValueFrom: secretKey("ledger-db", "root")}}},
	}
	live.Velero = &Velero{Namespace: "backups", Schedules: []string{"nightly", "weekly"}, Locations: []BackupLocation{
		{Name: "default", Bucket: "backups.example", Prefix: "velero/prod", Region: "eu-central-1", Endpoint: "https://s3.example"}, {Name: "old", Bucket: "old.example"}}}
	return live
}

func TestEngine(t *testing.T) {
	for _, tc := range []struct {
		name      string
		container corev1.Container
		engine    plan.Engine
		port      int32
		note      string
	}{
		{"image of PostgreSQL", corev1.Container{Image: "postgis/postgis:16"}, plan.PostgreSQL, 5432, "from image"},
		{"image of MySQL", corev1.Container{Image: "percona/percona-server:8.0"}, plan.MySQL, 3306, "from image"},
		{"image before port", corev1.Container{Image: "mysql:8", Ports: []corev1.ContainerPort{{ContainerPort: 5432}}}, plan.MySQL, 3306, "from image"},
		{"port of MySQL", corev1.Container{Image: "registry.example/db:1", Ports: []corev1.ContainerPort{{ContainerPort: 3306}}}, plan.MySQL, 3306, "CHECK: from port 3306"},
		{"port of PostgreSQL", corev1.Container{Image: "registry.example/db:1", Ports: []corev1.ContainerPort{{ContainerPort: 5432}}}, plan.PostgreSQL, 5432, "CHECK: from port 5432"},
		{"variable of MySQL", corev1.Container{Image: "registry.example/db:1", Env: []corev1.EnvVar{{Name: "MYSQL_ROOT_PASSWORD", ValueFrom: secretKey("s", "k")}}}, plan.MySQL, 3306, "CHECK: from variable MYSQL_ROOT_PASSWORD"},
		{"an exporter", corev1.Container{Image: "mysqld-exporter", Ports: []corev1.ContainerPort{{ContainerPort: 3306}}}, plan.PostgreSQL, 5432, "tells nothing"},
		{"nothing", corev1.Container{Image: "registry.example/db:1"}, plan.PostgreSQL, 5432, "tells nothing"},
	} {
		sts := &appsv1.StatefulSet{}
		sts.Spec.Template.Spec.Containers = []corev1.Container{tc.container}
		db := guess(Live{StatefulSet: sts})
		if db.engine != tc.engine || db.port != tc.port || !strings.Contains(db.engineNote, tc.note) {
			t.Errorf("%s: %s at %d, %s", tc.name, db.engine, db.port, db.engineNote)
		}
	}
}

// TestProposalsParse takes the proposals' comment signs away: what is left must be a plan.
func TestProposalsParse(t *testing.T) {
	text, err := Init(ledger())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	manifests := false
	for line := range strings.Lines(string(text)) {
		bare := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(bare, "manifests:"):
			manifests = true
			continue
		case manifests && strings.HasPrefix(bare, "path:"):
			continue
		case strings.HasPrefix(bare, "# heartbeat:"), strings.HasPrefix(bare, "# canary:"), strings.HasPrefix(bare, "# tls:"), strings.HasPrefix(bare, "# velero:"),
			strings.HasPrefix(bare, "#   location:"), strings.HasPrefix(bare, "#   region:"), strings.HasPrefix(bare, "#   endpoint:"),
			strings.HasPrefix(bare, "#   storageLocation:"), strings.HasPrefix(bare, "#   namespace:"), strings.HasPrefix(bare, "#   schedule:"),
			strings.HasPrefix(bare, "#   rehearsal:"), strings.HasPrefix(bare, "#   integrity:"):
			line = strings.Replace(line, "# ", "", 1)
		}
		lines = append(lines, line)
	}
	p, problems := plan.Parse("ledger", []byte(strings.Join(lines, "")))
	if err := problems.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, strings.Join(lines, ""))
	}
	v, db := p.Spec.Inventory.Velero, p.Spec.Workload.Database
	if v == nil || v.Location != "s3://backups.example/velero/prod" || v.Schedule != "nightly" || v.Namespace != "backups" || v.StorageLocation != "default" ||
		v.Region != "eu-central-1" || v.Endpoint != "https://s3.example" || db.Heartbeat == nil || db.Canary == nil || db.TLS != plan.TLSPrefer {
		t.Errorf("%+v, %+v", v, db)
	}
	if db.Engine != plan.MySQL || db.Port != 3307 || db.Name != "ledger" || db.Credentials.Secret.PasswordKey != "root" {
		t.Errorf("%+v", db)
	}
}

func TestInit(t *testing.T) {
	for name, live := range map[string]Live{"shop": shop(), "bare": bare(), "owned": owned(), "ledger": ledger()} {
		t.Run(name, func(t *testing.T) {
			got, err := Init(live)
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			path := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if _, problems := plan.Parse(name, got); len(problems) > 0 {
				t.Errorf("it does not parse: %v", problems)
			}
		})
	}
}

func TestInitReadsTheWorkload(t *testing.T) {
	text, err := Init(shop())
	if err != nil {
		t.Fatal(err)
	}
	p, problems := plan.Parse("shop", text)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	db := p.Spec.Workload.Database
	if db.Port != 5433 || db.Name != "shop" || db.Credentials.Secret.UsernameKey != "user" || db.Credentials.Secret.PasswordKey != "pass" {
		t.Errorf("the database is %+v with %+v", db, db.Credentials.Secret)
	}
	if len(p.Spec.Pause) != 1 || p.Spec.Pause[0].Kind != "HorizontalPodAutoscaler" || p.Spec.Pause[0].Name != "shop-db" {
		t.Errorf("pause is %+v, want the autoscaler of the StatefulSet alone", p.Spec.Pause)
	}
	if c := p.Spec.Volumes.Controller; c == nil || c.Name != "ebs-csi-controller" {
		t.Errorf("the controller is %+v", c)
	}
	if p.Spec.Rollback.Snapshots.Class != "ebs" {
		t.Errorf("the snapshot class is %q", p.Spec.Rollback.Snapshots.Class)
	}
}

func TestInitWithoutAWorkload(t *testing.T) {
	if _, err := Init(Live{}); err == nil {
		t.Error("a plan was written for nothing")
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "true", "No", "5432", "0x1f", "1e3", "12e03", ".inf", "-a", "a: b", "it's", "a #b", "~", "2024-01-01", "<<", "=", "a\nb", "1_000", "0o7", "e5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := oneLine(s)
		if strings.ToValidUTF8(s, "") != s || strings.ContainsFunc(s, func(r rune) bool { return r == 0xfffe || r == 0xffff || (r > 0x7f && r < 0xa0) }) {
			return // not Unicode text, or characters that YAML refuses
		}
		var doc struct{ V yaml.Node }
		if err := yaml.Unmarshal([]byte("v: "+quote(s)+"  # comment\n"), &doc); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if doc.V.Value != want || doc.V.ShortTag() != "!!str" {
			t.Fatalf("%q reads back as %s %q", s, doc.V.ShortTag(), doc.V.Value)
		}
	})
}
