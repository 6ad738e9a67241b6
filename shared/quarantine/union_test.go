package quarantine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/shared/plan"
)

func policy(t testing.TB, spec string) networkingv1.NetworkPolicy {
	t.Helper()
	p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	return p
}

func TestOpenings(t *testing.T) {
	peers := []plan.Peer{{CIDR: "10.20.0.0/16", Ports: []int{5432, 5433}}, {CIDR: "10.30.0.0/16"}, {CIDR: "fd00:1::/64", Ports: []int{443}}}
	for _, tc := range []struct {
		name, spec string
		want       []string
	}{
		{"deny all", `{podSelector: {}, policyTypes: [Ingress, Egress]}`, nil},
		{"a rule without peers and ports is for everyone", `{podSelector: {}, policyTypes: [Egress], egress: [{}]}`, []string{"egress: everyone on every port"}},
		{"a rule without peers but with ports", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}`, []string{"egress: everyone on UDP 53"}},
		{"without policyTypes ingress counts", `{podSelector: {}, ingress: [{}]}`, []string{"ingress: everyone on every port"}},
		{"without policyTypes egress rules count too", `{podSelector: {}, egress: [{}]}`, []string{"egress: everyone on every port"}},
		{"egress rules of a policy for ingress only are not in force", `{podSelector: {}, policyTypes: [Ingress], egress: [{}]}`, nil},
		{"an unknown direction opens nothing", `{podSelector: {}, policyTypes: [Sideways], egress: [{}]}`, nil},
		{"it counts even if it selects no pod now", `{podSelector: {matchLabels: {app: later}}, ingress: [{}]}`, []string{"ingress: everyone on every port"}},

		{"a podSelector alone is inside", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`, nil},
		{"every namespace", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`, []string{"ingress: pods of namespaces of every name on every port"}},
		{"namespaces by label", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}]}]}`, []string{"ingress: pods of namespaces with team=shop on every port"}},
		{"its own namespace by name", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]}`, nil},
		{"its own namespace by expression", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [shop]}]}}]}]}`, nil},
		{"its own and another namespace", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [shop, web]}]}}]}]}`,
			[]string{"ingress: pods of namespaces with kubernetes.io/metadata.name in (shop,web) on every port"}},
		{"every namespace but its own", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [shop]}]}}]}]}`,
			[]string{"ingress: pods of namespaces with kubernetes.io/metadata.name notin (shop) on every port"}},
		{"both selectors of one peer are joined", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}`,
			[]string{"ingress: pods of namespaces of every name on every port"}},
		{"two peers: inside, and every namespace", `{podSelector: {}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]}`,
			[]string{"ingress: pods of namespaces of every name on every port"}},
		{"a peer that selects nothing known", `{podSelector: {}, ingress: [{from: [{}]}]}`, []string{"ingress: a peer that selects nothing known on every port"}},

		{"cluster DNS", `{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}], policyTypes: [Egress]}`, nil},
		{"cluster DNS pods on every port", `{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]}], policyTypes: [Egress]}`,
			[]string{"egress: pods of namespaces with kubernetes.io/metadata.name=kube-system on every port"}},
		{"all of kube-system on 53", `{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}], ports: [{port: 53, protocol: UDP}]}], policyTypes: [Egress]}`,
			[]string{"egress: pods of namespaces with kubernetes.io/metadata.name=kube-system on UDP 53"}},
		{"DNS pods may not come in", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}]}`,
			[]string{"ingress: pods of namespaces with kubernetes.io/metadata.name=kube-system on UDP 53"}},
		{"NodeLocal DNSCache", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{port: 53, protocol: UDP}]}], policyTypes: [Egress]}`, nil},
		{"all link-local addresses, as the metadata service", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 169.254.0.0/16}}], ports: [{port: 53, protocol: UDP}]}], policyTypes: [Egress]}`, []string{"egress: 169.254.0.0/16 on UDP 53"}},

		{"everywhere", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}], policyTypes: [Egress]}`, []string{"egress: 0.0.0.0/0 on every port"}},
		{"a part of a peer on its port", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.20.7.0/24}}], ports: [{port: 5432}]}], policyTypes: [Egress]}`, nil},
		{"a peer on both of its ports as a range", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 5432, endPort: 5433}]}], policyTypes: [Egress]}`, nil},
		{"a range beyond the peer's ports", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 5432, endPort: 5434}]}], policyTypes: [Egress]}`, []string{"egress: 10.20.0.0/16 on TCP 5432-5434"}},
		{"another port of a peer", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 22}]}]}`, []string{"ingress: 10.20.0.0/16 on TCP 22"}},
		{"another protocol of a peer", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 5432, protocol: UDP}]}]}`, []string{"ingress: 10.20.0.0/16 on UDP 5432"}},
		{"every port of a peer that has ports", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}]}]}`, []string{"ingress: 10.20.0.0/16 on every port"}},
		{"every TCP port of a peer that has ports", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{protocol: TCP}]}]}`, []string{"ingress: 10.20.0.0/16 on every TCP port"}},
		{"a named port may be any", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: postgres}]}]}`, []string{`ingress: 10.20.0.0/16 on TCP port "postgres"`}},
		{"a named port of a peer without ports", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.30.1.0/24}}], ports: [{port: postgres}]}]}`, nil},
		{"wider than a peer", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 5432}]}]}`, []string{"ingress: 10.0.0.0/8 on TCP 5432"}},
		{"wider than a peer, without the rest", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/15, except: [10.21.0.0/16]}}], ports: [{port: 5432}]}]}`, nil},
		{"two peers together make the block", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/12, 10.16.0.0/14, 10.21.0.0/16, 10.22.0.0/15, 10.24.0.0/14, 10.28.0.0/15, 10.31.0.0/16, 10.32.0.0/11, 10.64.0.0/10, 10.128.0.0/9]}}], ports: [{port: 5432}]}], policyTypes: [Egress]}`, nil},
		{"a block without all of itself", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 8.8.8.0/24, except: [8.8.8.0/24]}}]}], policyTypes: [Egress]}`, nil},
		{"a block without half of itself", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 8.8.8.0/24, except: [8.8.8.0/25]}}]}], policyTypes: [Egress]}`, []string{"egress: 8.8.8.0/24 except 8.8.8.0/25 on every port"}},
		{"IPv6 inside a peer", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: "fd00:1::8000/113"}}], ports: [{port: 443}]}], policyTypes: [Egress]}`, nil},
		{"IPv6 everywhere", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: "::/0"}}]}], policyTypes: [Egress]}`, []string{"egress: ::/0 on every port"}},
		{"a block that cannot be read", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: nonsense}}]}], policyTypes: [Egress]}`, []string{`egress: ipBlock "nonsense", which cannot be read on every port`}},
		{"an except that cannot be read", `{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.30.0.0/16, except: [x]}}]}], policyTypes: [Egress]}`, []string{`egress: ipBlock 10.30.0.0/16 except "x", which cannot be read on every port`}},
		{"an endPort below the port", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 5433, endPort: 5432}]}]}`, []string{"ingress: 10.20.0.0/16 on TCP 5433-5432"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, o := range Openings("shop", []networkingv1.NetworkPolicy{policy(t, `{podSelector: {}, policyTypes: [Ingress, Egress]}`), policy(t, tc.spec)}, peers) {
				got = append(got, strings.TrimPrefix(o.String(), "NetworkPolicy p opens "))
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// What Policies makes isolates every pod in both directions and opens nothing by its own judgement; without one of its peers in
// the allowance it would.
func TestOwnPoliciesClose(t *testing.T) {
	peers := []plan.Peer{{CIDR: "10.20.0.7/16", Ports: []int{5432}}, {CIDR: "192.0.2.0/24"}}
	ps := Policies("shop", "shop-recover-20261121020000-9f3c", peers)
	if d := cmp.Diff([]Direction{Egress, Ingress}, Isolates(ps)); d != "" {
		t.Error(d)
	}
	if o := Openings("shop", ps, peers); len(o) > 0 {
		t.Errorf("the quarantine's own policies open %v", o)
	}
	for i := range peers {
		fewer := append(append([]plan.Peer{}, peers[:i]...), peers[i+1:]...)
		if o := Openings("shop", ps, fewer); len(o) != 2 {
			t.Errorf("without peer %s: %v, expected one opening in each direction", peers[i].CIDR, o)
		}
	}
	for _, p := range ps {
		if !strings.HasPrefix(p.Name, PolicyPrefix("shop-recover-20261121020000-9f3c")) || p.Namespace != "shop" || len(p.Name) > 253 {
			t.Errorf("policy %s/%s", p.Namespace, p.Name)
		}
	}
	if n := len(Policies("shop", "x", nil)); n != len(ps)-1 {
		t.Errorf("%d policies without peers", n)
	}
	if got := ps[len(ps)-1].Spec.Egress[0].To[0].IPBlock.CIDR; got != "10.20.0.0/16" {
		t.Errorf("the peer's block is %s: host bits are refused by the API server", got)
	}
}

func TestIsolates(t *testing.T) {
	for _, tc := range []struct {
		name  string
		specs []string
		want  []Direction
	}{
		{"nothing", nil, nil},
		{"both", []string{`{podSelector: {}, policyTypes: [Ingress, Egress]}`}, []Direction{Egress, Ingress}},
		{"the default is ingress", []string{`{podSelector: {}}`}, []Direction{Ingress}},
		{"one each", []string{`{podSelector: {}, policyTypes: [Ingress]}`, `{podSelector: {}, policyTypes: [Egress]}`}, []Direction{Egress, Ingress}},
		{"some pods are not all", []string{`{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}`}, nil},
		{"nor are those of an expression", []string{`{podSelector: {matchExpressions: [{key: app, operator: Exists}]}, policyTypes: [Egress]}`}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ps []networkingv1.NetworkPolicy
			for _, s := range tc.specs {
				ps = append(ps, policy(t, s))
			}
			if d := cmp.Diff(tc.want, Isolates(ps)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestHostPods(t *testing.T) {
	pods := []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Name: "in"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "out"}, Spec: corev1.PodSpec{HostNetwork: true}, Status: corev1.PodStatus{Phase: corev1.PodRunning}},
		{ObjectMeta: metav1.ObjectMeta{Name: "over"}, Spec: corev1.PodSpec{HostNetwork: true}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
	}
	if d := cmp.Diff([]string{"out"}, HostPods(pods)); d != "" {
		t.Error(d)
	}
}

// FuzzSubtract holds the splitting of prefixes against the meaning of set difference, at the borders of both.
func FuzzSubtract(f *testing.F) {
	f.Add("10.0.0.0/8", "10.20.0.0/16", "10.20.0.1")
	f.Add("0.0.0.0/0", "169.254.20.10/32", "169.254.20.11")
	f.Add("fd00::/8", "fd00:1::/64", "fd00:1::ffff")
	f.Add("10.0.0.0/8", "::/0", "10.0.0.0")
	f.Fuzz(func(t *testing.T, from, minus, addr string) {
		p, err1 := netip.ParsePrefix(from)
		x, err2 := netip.ParsePrefix(minus)
		a, err3 := netip.ParseAddr(addr)
		if err1 != nil || err2 != nil || err3 != nil {
			return
		}
		p, x = p.Masked(), x.Masked()
		left := subtract([]netip.Prefix{p}, x)
		for _, at := range []netip.Addr{a, p.Addr(), x.Addr(), x.Addr().Prev()} {
			if !at.IsValid() {
				continue
			}
			n := 0
			for _, l := range left {
				if l.Contains(at) {
					n++
				}
			}
			want := 0
			if p.Contains(at) && !x.Contains(at) {
				want = 1
			}
			if n != want {
				t.Errorf("%s minus %s has %s %d times, expected %d: %s", p, x, at, n, want, fmt.Sprint(left))
			}
		}
	})
}
