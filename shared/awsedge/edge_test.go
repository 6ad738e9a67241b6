package awsedge

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

func TestNewReportsEveryMistake(t *testing.T) {
	env := lambdaboot.NewEnv(func(string) (string, bool) { return "", false })
	env.ARN("STATE_MACHINE_ARN", "states", "stateMachine:")
	_, err := New(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), "STATE_MACHINE_ARN") || !strings.Contains(err.Error(), "JOURNAL_BUCKET") {
		t.Errorf("%v: expected both variables", err)
	}
}

func TestNewWires(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-central-1")
	e, err := New(t.Context(), lambdaboot.NewEnv(func(k string) (string, bool) { return "journals", k == "JOURNAL_BUCKET" }))
	if err != nil {
		t.Fatal(err)
	}
	if e.JournalBucket != "journals" || e.Config.Region != "eu-central-1" || e.Env.LoadPlan == nil || e.Env.Connect == nil || e.Env.Inventory == nil ||
		e.Env.Journals == nil || e.Env.Guard == nil || e.Env.Now == nil {
		t.Errorf("%+v %+v", e, e.Env)
	}
}

type recorder struct{ asked string }

func (r *recorder) Connect(_ context.Context, name, region string) (*cluster.Client, error) {
	r.asked = name + " in " + region
	return &cluster.Client{}, nil
}

func TestConnect(t *testing.T) {
	r := &recorder{}
	p := &plan.Plan{}
	p.Spec.Cluster.Kubeconfig = &plan.Kubeconfig{Path: "/etc/kubeconfig"}
	if _, err := connect(r)(t.Context(), p); fault.From(err).Code != fault.PlanInvalid || r.asked != "" {
		t.Errorf("a kubeconfig: %v, asked %q", err, r.asked)
	}
	p.Spec.Cluster = plan.Cluster{EKS: &plan.EKS{Name: "main", Region: "eu-west-1"}}
	if _, err := connect(r)(t.Context(), p); err != nil || r.asked != "main in eu-west-1" {
		t.Errorf("%v, asked %q", err, r.asked)
	}
}

// TestInventory opens a bundle in S3 as a step does.
func TestInventory(t *testing.T) {
	const bucket = "fallback-test"
	c := awstest.S3(t, awstest.Start(t), bucket)
	manifest := map[string]any{"apiVersion": inventory.APIVersion, "kind": inventory.Kind, "clusterUID": "u", "kubernetesVersion": "v1.36.3",
		"capturedAt": "2026-11-20T02:00:00Z", "namespace": "shop", "statefulSet": "shop-db",
		"files": []map[string]any{{"path": "cm.yaml", "sha256": strings.Repeat("a", 64), "bytes": 1}}}
	b, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for key, text := range map[string]string{"inventories/shop/bundle.json": string(b), "inventories/shop/cm.yaml": "x", "inventories/shop/stray.yaml": "x"} {
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader(text)}); err != nil {
			t.Fatal(err)
		}
	}
	open := func(path string) (*inventory.Bundle, error) {
		p := &plan.Plan{}
		p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: path}}
		return inventories(c)(t.Context(), run.PlanRef{}, p)
	}
	bundle, err := open("s3://" + bucket + "/inventories/shop")
	if err != nil {
		t.Fatal(err)
	}
	if bundle.StatefulSet != "shop-db" || !strings.HasPrefix(bundle.Digest, "sha256:") {
		t.Errorf("%+v", bundle)
	}
	v := bundle.Verify(t.Context(), bundle.CapturedAt, inventory.Target{ClusterUID: "u", Namespace: "shop", StatefulSet: "shop-db", KubernetesVersion: "v1.36.3"}, 1e12)
	found := ""
	for _, f := range v.Findings {
		found += f.String() + "\n"
	}
	if !strings.Contains(found, "cm.yaml") || !strings.Contains(found, "stray.yaml") {
		t.Errorf("found %q: expected the wrong digest and the file that nobody listed", found)
	}
	for _, bad := range []string{"s3://" + bucket + "/nowhere", "/etc/inventory"} {
		if _, err := open(bad); err == nil {
			t.Errorf("%s was opened", bad)
		}
	}
}
