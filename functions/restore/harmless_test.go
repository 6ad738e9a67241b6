package restore

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Velero restores the kinds that a manifest restore keeps, and claims.
func TestTheSameKinds(t *testing.T) {
	want := slices.Collect(maps.Keys(kept))
	want = append(want, schema.GroupKind{Kind: "PersistentVolumeClaim"})
	sorted := func(in []schema.GroupKind) []string {
		var out []string
		for _, gk := range in {
			out = append(out, gk.String())
		}
		slices.Sort(out)
		return out
	}
	if d := cmp.Diff(sorted(want), sorted(slices.Collect(maps.Keys(resources)))); d != "" {
		t.Error(d)
	}
}

// What is in the cluster is judged as it is there, with everything that the API server and controllers added.
func TestHarmful(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		harmful bool
	}{
		"a Service inside":                {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d, labels: {x: y}}, spec: {type: ClusterIP, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], sessionAffinity: None, internalTrafficPolicy: Cluster, ports: [{port: 80}]}}", false},
		"headless":                        {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d}, spec: {type: ClusterIP, clusterIP: None, clusterIPs: [None]}}", false},
		"a NodePort":                      {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}}", true},
		"addresses outside":               {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d}, spec: {type: ClusterIP, externalIPs: [1.2.3.4]}}", true},
		"ExternalName":                    {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d}, spec: {type: ExternalName, externalName: db.example.com}}", true},
		"ExternalDNS":                     {"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d, annotations: {external-dns.kubernetes.io/hostname: x}}, spec: {type: ClusterIP}}", true},
		"a CronJob that runs":             {"{apiVersion: batch/v1, kind: CronJob, metadata: {name: a, namespace: d}, spec: {suspend: false, jobTemplate: {spec: {template: {spec: {containers: []}}}}}}", true},
		"a CronJob that does not":         {"{apiVersion: batch/v1, kind: CronJob, metadata: {name: a, namespace: d}, spec: {suspend: true, jobTemplate: {spec: {template: {spec: {containers: []}}}}}}", false},
		"a Deployment":                    {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: d, annotations: {deployment.kubernetes.io/revision: '1'}}, spec: {replicas: 2, template: {spec: {containers: [{name: a, ports: [{containerPort: 1}]}]}}}}", false},
		"on the node's network":           {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: d}, spec: {replicas: 1, template: {spec: {hostNetwork: true, containers: []}}}}", true},
		"on the node's paths":             {"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, namespace: d}, spec: {replicas: 1, template: {spec: {containers: [], volumes: [{name: h, hostPath: {path: /}}]}}}}", true},
		"on them without pods":            {"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, namespace: d}, spec: {replicas: 0, template: {spec: {containers: [], volumes: [{name: h, hostPath: {path: /}}]}}}}", false},
		"the default account":             {"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: d}}", false},
		"the default account with rights": {"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: d, annotations: {eks.amazonaws.com/role-arn: r}}}", true},
		"an account with a token":         {"{apiVersion: v1, kind: ServiceAccount, metadata: {name: app, namespace: d}, secrets: [{name: t}]}", true},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := yaml.YAMLToJSON([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(j); err != nil {
				t.Fatal(err)
			}
			if why := harmful(o, "d"); (why != "") != tc.harmful {
				t.Errorf("%q", why)
			}
		})
	}
}

// What is wrong is named by its fields: values, and a password is one, are in no fault and so in no report.
func TestHarmfulTellsNoValues(t *testing.T) {
	for want, text := range map[string]string{
		"spec.template.spec.containers": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: d}, spec: {replicas: 1, template: {spec: {containers: [{name: a, " +
			"env: [{name: PASSWORD, value: s3cret}], ports: [{containerPort: 1, hostPort: 1}]}]}}}}",
		"spec.suspend": "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a, namespace: d}, spec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {containers: " +
			"[{name: a, env: [{name: PASSWORD, value: s3cret}]}]}}}}}}",
		"spec.externalIPs, spec.ports, spec.type": "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: d}, spec: {type: NodePort, externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30080}]}}",
	} {
		j, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(j); err != nil {
			t.Fatal(err)
		}
		if why := harmful(o, "d"); why != "it still has what a drill must not have in "+want {
			t.Errorf("%q, expected the fields %s alone", why, want)
		}
	}
}
