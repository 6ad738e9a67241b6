package restore

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/steptest"
)

const ns = "drill-shop-drill-20261121020000-9f3c"

// In every case the object of production is turned into want, or left out for the reason.
func TestNeutralise(t *testing.T) {
	for _, tc := range []struct{ name, in, want, leftOut string }{
		{name: "a load balancer becomes internal", in: `
apiVersion: v1
kind: Service
metadata:
  name: db
  namespace: shop
  labels: {app: db, kustomize.toolkit.fluxcd.io/name: shop}
  annotations:
    external-dns.alpha.kubernetes.io/hostname: db.example.com
    external-dns.kubernetes.io/hostname: db.example.com
    service.beta.kubernetes.io/aws-load-balancer-type: nlb
    argocd.argoproj.io/tracking-id: shop:/Service:shop/db
    team: shop
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.9
  clusterIPs: [10.96.0.9]
  externalIPs: [203.0.113.7]
  loadBalancerIP: 203.0.113.8
  loadBalancerClass: service.k8s.aws/nlb
  loadBalancerSourceRanges: [0.0.0.0/0]
  allocateLoadBalancerNodePorts: true
  externalTrafficPolicy: Local
  healthCheckNodePort: 31999
  ipFamilyPolicy: SingleStack
  selector: {app: db}
  ports: [{name: pg, port: 5432, nodePort: 31432}]`, want: `
apiVersion: v1
kind: Service
metadata: {name: db, namespace: ` + ns + `, labels: {app: db}, annotations: {team: shop}}
spec: {type: ClusterIP, ipFamilyPolicy: SingleStack, selector: {app: db}, ports: [{name: pg, port: 5432}]}`},
		{name: "a node port becomes internal", in: `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: NodePort, clusterIP: 10.96.0.9, ports: [{port: 1, nodePort: 30001}]}}`,
			want: `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: ` + ns + `}, spec: {type: ClusterIP, ports: [{port: 1}]}}`},
		{name: "a headless service stays headless", in: `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 1}]}}`,
			want: `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: ` + ns + `}, spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 1}]}}`},
		{name: "a name outside", in: `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: ExternalName, externalName: db.example.com}}`,
			leftOut: "it points outside the quarantine"},
		{name: "a service account loses its IAM role", in: `
apiVersion: v1
kind: ServiceAccount
metadata: {name: db, namespace: shop, uid: x, resourceVersion: "7", ownerReferences: [{kind: A, name: b, uid: c, apiVersion: v1}], finalizers: [a/b],
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/db", iam.gke.io/gcp-service-account: x, azure.workload.identity/client-id: "1", note: kept}}
secrets: [{name: db-token}]
imagePullSecrets: [{name: registry}]`, want: `
apiVersion: v1
kind: ServiceAccount
metadata: {name: db, namespace: ` + ns + `, annotations: {note: kept}}
imagePullSecrets: [{name: registry}]`},
		{name: "the default service account", in: `{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}`, leftOut: "each namespace gets its own"},
		{name: "a role binding is of the drill", in: `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: db, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: db}
subjects:
- {kind: ServiceAccount, name: db, namespace: shop}
- {kind: ServiceAccount, name: ci, namespace: tools}
- {kind: Group, name: "system:serviceaccounts:shop", apiGroup: rbac.authorization.k8s.io}
- {kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}`, want: `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: db, namespace: ` + ns + `}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: db}
subjects:
- {kind: ServiceAccount, name: db, namespace: ` + ns + `}
- {kind: Group, name: "system:serviceaccounts:` + ns + `", apiGroup: rbac.authorization.k8s.io}
- {kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}`},
		{name: "a role binding for others", in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: ci, namespace: shop}, subjects: [{kind: ServiceAccount, name: ci, namespace: tools}]}`,
			leftOut: "it binds nobody of the drill"},
		{name: "the workload keeps its replicas and loses its node, ports on it and priority", in: `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop, generation: 4}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: pg}, annotations: {external-dns.kubernetes.io/hostname: x, note: kept}}
    spec:
      nodeName: node-1
      priorityClassName: critical
      priority: 1000
      containers: [{name: pg, image: postgres, ports: [{containerPort: 5432, hostPort: 5432, hostIP: 0.0.0.0}]}]
      initContainers: [{name: init, ports: [{containerPort: 1, hostPort: 1}]}]
status: {replicas: 3}`, want: `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: ` + ns + `}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: pg}, annotations: {note: kept}}
    spec:
      containers: [{name: pg, image: postgres, ports: [{containerPort: 5432}]}]
      initContainers: [{name: init, ports: [{containerPort: 1}]}]`},
		{name: "pods on the node's network", in: `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: shop}, spec: {template: {spec: {hostNetwork: true}}}}`,
			leftOut: "its pods use the node's own namespaces (hostNetwork), which no NetworkPolicy holds"},
		{name: "pods with a path of the node", in: `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: shop}, spec: {template: {spec: {volumes: [{name: d, hostPath: {path: /}}]}}}}`,
			leftOut: "its pods mount a path of the node (volume d)"},
		{name: "a cron job is suspended", in: `{apiVersion: batch/v1, kind: CronJob, metadata: {name: a, namespace: shop}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {nodeName: x}}}}}}`,
			want: `{apiVersion: batch/v1, kind: CronJob, metadata: {name: a, namespace: ` + ns + `}, spec: {schedule: "* * * * *", suspend: true, jobTemplate: {spec: {template: {spec: {}}}}}}`},
		{name: "a secret", in: `{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, type: Opaque, data: {k: dg==}}`,
			want: `{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: ` + ns + `}, type: Opaque, data: {k: dg==}}`},
		{name: "a service account's token", in: `{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, type: kubernetes.io/service-account-token}`, leftOut: "a token of production's service account"},
		{name: "the cluster's root certificate", in: `{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: shop}}`, leftOut: "each namespace gets its own"},
		{name: "a policy", in: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, namespace: shop}}`, leftOut: "it could open the quarantine: policies add up"},
		{name: "an ingress", in: `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a, namespace: shop}}`, leftOut: "it would take production's traffic"},
		{name: "a route of a gateway", in: `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, namespace: shop}}`, leftOut: "it would take production's traffic"},
		{name: "an autoscaler", in: `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a, namespace: shop}}`, leftOut: "it would change the replicas that are verified"},
		{name: "KEDA", in: `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: a, namespace: shop}}`, leftOut: "it would change the replicas that are verified"},
		{name: "a disruption budget", in: `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a, namespace: shop}}`, leftOut: "it would hold up the draining of nodes for a drill"},
		{name: "a job", in: `{apiVersion: batch/v1, kind: Job, metadata: {name: a, namespace: shop}}`, leftOut: "it would run again"},
		{name: "an operator's resource", in: `{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a, namespace: shop}}`, leftOut: "custom resource: its operator would act on it"},
		{name: "a StatefulSet of somebody else's API", in: `{apiVersion: apps.kruise.io/v1, kind: StatefulSet, metadata: {name: a, namespace: shop}}`, leftOut: "custom resource: its operator would act on it"},
		{name: "a webhook", in: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: a}}`, leftOut: "cluster-scoped: a drill changes nothing outside its namespace"},
		{name: "an object of another namespace", in: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: kube-system}}`, leftOut: "in another namespace than the workload"},
		{name: "a kind nobody thought about", in: `{apiVersion: apps/v1, kind: Gadget, metadata: {name: a, namespace: shop}}`, leftOut: "not a kind that drills restore"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := steptest.Object(t, tc.in)
			before := in.DeepCopy()
			got, why := Neutralise(in, "shop", ns)
			if why != tc.leftOut {
				t.Fatalf("left out for %q, expected %q", why, tc.leftOut)
			}
			if d := cmp.Diff(before.Object, in.Object); d != "" {
				t.Errorf("the input was changed: %s", d)
			}
			if tc.want == "" {
				if got != nil {
					t.Errorf("left out, and returned")
				}
				return
			}
			if d := cmp.Diff(steptest.Object(t, tc.want).Object, got.Object); d != "" {
				t.Error(d)
			}
			again, why := Neutralise(steptest.Object(t, tc.want), ns, ns)
			if why != "" || cmp.Diff(got.Object, again.Object) != "" {
				t.Errorf("neutralising twice differs: %s %s", why, cmp.Diff(got.Object, again.Object))
			}
		})
	}
}

func TestEveryKeptKindKeepsNothingThatActs(t *testing.T) {
	for gk := range kept {
		group := gk.Group + "/v1"
		if gk.Group == "" {
			group = "v1"
		}
		o := steptest.Object(t, "apiVersion: "+group+"\nkind: "+gk.Kind+"\nmetadata: {name: a, namespace: shop, annotations: {external-dns.kubernetes.io/hostname: x}}\nspec: {jobTemplate: {spec: {template: {spec: {}}}}, template: {spec: {}}}\nsubjects: [{kind: User, name: a}]")
		out, why := Neutralise(o, "shop", ns)
		if why != "" {
			t.Errorf("%s: %s", gk, why)
			continue
		}
		for k := range out.GetAnnotations() {
			if strings.HasPrefix(k, "external-dns") {
				t.Errorf("%s keeps %s", gk, k)
			}
		}
	}
}
