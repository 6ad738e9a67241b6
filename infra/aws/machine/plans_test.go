package machine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/functions/seal"
	"fallbackchain.io/fallback/infra/aws/rights"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// publish puts what an operator puts into AWS: the plans, the inventory, the secret that the gate signs in with, and the key of the
// backups' manifests. The plan shop has a manifest bundle and a Secret in the cluster; shop-velero has the cluster's Velero backups and
// a secret of Secrets Manager; shop-alarm is shop with a hold-down and a cool-down.
func (b *bed) publish() {
	t := b.t
	b.cloud.SigningKey(region, "manifests")
	dir := os.DirFS(filepath.Join(b.options.Dir, sample.InventoryDir))
	if err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, path)
		if err == nil {
			b.put("plans", "inventories/shop/"+path, data)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	eks := func(line string) string {
		if strings.Contains(line, "kubeconfig: {path:") {
			return fmt.Sprintf("    eks: {name: %s, region: %s}", eksName, region)
		}
		return line
	}
	manifests := func(line string) string {
		if strings.Contains(line, "manifests: {path:") {
			return "    manifests: {path: s3://plans/inventories/shop}"
		}
		return eks(line)
	}
	b.publishPlan("shop", sample.PlanFile, manifests)
	b.publishPlan("shop-alarm", sample.PlanFile, func(line string) string {
		if strings.HasPrefix(line, "  name: shop") {
			return "  name: shop-alarm"
		}
		if strings.HasPrefix(line, "  objectives:") {
			return line + "\n  triggers: {holdDown: 1s, coolDown: 1s}"
		}
		return manifests(line)
	})
	secret := b.secret()
	b.publishPlan("shop-velero", sample.VeleroPlanFile, func(line string) string {
		switch {
		case strings.Contains(line, "secret: {name: pg-reader"):
			return fmt.Sprintf("        secretsManager: {id: %q}", secret)
		case strings.Contains(line, "endpoint:"), strings.Contains(line, "credentialsFile:"):
			return ""
		case strings.Contains(line, "integrity:"):
			return fmt.Sprintf("      integrity: {key: %q}", rights.Deployed().Parameters["ManifestKeyArn"])
		}
		return eks(line)
	})
}

// publishPlan puts a plan of the sample into the bucket, each line changed.
func (b *bed) publishPlan(name, file string, change func(line string) string) {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.options.Dir, file))
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		out = append(out, change(strings.TrimSuffix(line, "\n")))
	}
	b.put("plans", "plans/"+name+".yaml", []byte(strings.Join(out, "\n")))
}

func (b *bed) put(bucket, key string, data []byte) {
	b.t.Helper()
	if _, err := b.s3.PutObject(b.t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(data)}); err != nil {
		b.t.Fatal(err)
	}
}

// secret puts what the cluster's Secret of the reader holds into Secrets Manager, and returns its ARN.
func (b *bed) secret() string {
	t := b.t
	have, err := cluster.Get[corev1.Secret](t.Context(), b.client, cluster.Secrets, sample.Namespace, sample.ReaderSecret)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(map[string]string{"username": string(have.Data["username"]), "password": string(have.Data["password"])})
	if err != nil {
		t.Fatal(err)
	}
	out, err := secretsmanager.NewFromConfig(b.config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("shop-reader"), SecretString: aws.String(string(value))})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.ARN)
}

// reachBackups lets the functions reach Velero's bucket with their own credentials.
func (b *bed) reachBackups() {
	at := b.stack.Backups()
	shared, err := config.LoadSharedConfigProfile(b.t.Context(), "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{at.CredentialsFile}, []string{}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.recorder.Elsewhere = map[string]rights.Store{stack.Bucket: {Endpoint: at.Endpoint, Region: at.Region, Credentials: shared.Credentials}}
}

// backup is the name of the backup that the drill restores.
const backup = "shop-nightly"

// seal has the seal function seal the backup, on the event of Velero's bucket. It waits for a time after a backup (Velero may write
// the last object again), so others go on meanwhile; sealed is closed when it is done.
func (b *bed) seal() (sealed <-chan seal.Result) {
	t := b.t
	sample, err := os.ReadFile(filepath.Join(root, "events", "testdata", "backup-written.json"))
	if err != nil {
		t.Fatal(err)
	}
	at := b.stack.Backups()
	event := strings.NewReplacer("velero-eu", at.Bucket, "eu/main", at.Prefix, "shop-20261120020000", backup).Replace(string(sample))
	b.happens(t, []byte(event))
	done := make(chan seal.Result, 1)
	go func() {
		defer close(done)
		b.host.Quiet()
		for _, c := range b.host.Calls() {
			var out seal.Result
			if c.Function == stackName+"-SealFunction" && json.Unmarshal(c.Answer, &out) == nil && !c.Failed {
				done <- out
				return
			}
		}
	}()
	return done
}
