package quarantine

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestAdminOpening(t *testing.T) {
	for _, tc := range []struct{ name, spec, want string }{
		{"it denies", `{tier: Admin, subject: {namespaces: {}}, egress: [{action: Deny}], ingress: [{action: Pass}]}`, ""},
		{"it accepts egress", `{tier: Admin, subject: {namespaces: {}}, egress: [{action: Deny}, {action: Accept}]}`, "accepts egress"},
		{"the older kind allows ingress", `{subject: {namespaces: {}}, ingress: [{action: Allow}]}`, "accepts ingress"},
		{"it accepts below NetworkPolicies", `{tier: Baseline, subject: {namespaces: {}}, egress: [{action: Accept}]}`, ""},
		{"it is about other namespaces", `{tier: Admin, subject: {namespaces: {matchLabels: {team: web}}}, egress: [{action: Accept}]}`, ""},
		{"it is about this namespace", `{tier: Admin, subject: {namespaces: {matchLabels: {team: shop}}}, egress: [{action: Accept}]}`, "accepts egress"},
		{"it is about pods of other namespaces", `{tier: Admin, subject: {pods: {namespaceSelector: {matchLabels: {team: web}}, podSelector: {}}}, egress: [{action: Accept}]}`, ""},
		{"it is about pods of this namespace", `{tier: Admin, subject: {pods: {namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: x}}}}, egress: [{action: Accept}]}`, "accepts egress"},
		{"its subject cannot be read", `{tier: Admin, subject: {namespaces: {matchExpressions: [{key: a, operator: Maybe}]}}, egress: [{action: Accept}]}`, "accepts egress"},
		{"it has no subject", `{tier: Admin, egress: [{action: Accept}]}`, "accepts egress"},
		{"its action is not known", `{tier: Admin, subject: {namespaces: {}}, egress: [{action: Redirect}]}`, "accepts egress"},
		{"its rules cannot be read", `{tier: Admin, subject: {namespaces: {}}, ingress: nonsense}`, "cannot be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte("kind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec: "+tc.spec), &u.Object); err != nil {
				t.Fatal(err)
			}
			got := AdminOpening(u, map[string]string{"team": "shop"})
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, expected %q", got, tc.want)
			}
		})
	}
}
