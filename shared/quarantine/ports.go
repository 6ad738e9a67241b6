package quarantine

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const lastPort = 65535

// portRange is a range of ports of one protocol; "" is every protocol, a name (with first 0) is a port that each pod resolves
// for itself and so may be any.
type portRange struct {
	protocol    corev1.Protocol
	name        string
	first, last int
}

// portRanges reads a rule's ports: none is every port of every protocol; the protocol is TCP unless it is given; without a port
// it is every port of the protocol; endPort makes a range. What breaks these rules counts as every port.
func portRanges(ports []networkingv1.NetworkPolicyPort) []portRange {
	if len(ports) == 0 {
		return []portRange{{first: 1, last: lastPort}}
	}
	var out []portRange
	for _, p := range ports {
		r := portRange{protocol: corev1.ProtocolTCP, first: 1, last: lastPort}
		if p.Protocol != nil {
			r.protocol = *p.Protocol
		}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			r.name = p.Port.StrVal
		default:
			r.first = p.Port.IntValue()
			r.last = r.first
			if p.EndPort != nil {
				r.last = int(*p.EndPort)
			}
		}
		out = append(out, r)
	}
	return out
}

func (r portRange) isDNS() bool {
	return r.name == "" && r.first == dnsPort && r.last == dnsPort && (r.protocol == corev1.ProtocolUDP || r.protocol == corev1.ProtocolTCP)
}

// within tells whether every port of the range is among a peer's TCP ports; a peer without ports allows all.
func (r portRange) within(tcp []int) bool {
	if len(tcp) == 0 {
		return true
	}
	if r.name != "" || r.protocol != corev1.ProtocolTCP || r.last < r.first || r.last-r.first >= len(tcp) {
		return false
	}
	for n := r.first; n <= r.last; n++ {
		if !slices.Contains(tcp, n) {
			return false
		}
	}
	return true
}

func (r portRange) String() string {
	switch {
	case r.protocol == "":
		return "every port"
	case r.name != "":
		return fmt.Sprintf("%s port %q", r.protocol, r.name)
	case r.first == 1 && r.last == lastPort:
		return fmt.Sprintf("every %s port", r.protocol)
	case r.first == r.last:
		return fmt.Sprintf("%s %d", r.protocol, r.first)
	}
	return fmt.Sprintf("%s %d-%d", r.protocol, r.first, r.last)
}

func describe(rs []portRange) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.String())
	}
	return strings.Join(out, ", ")
}
