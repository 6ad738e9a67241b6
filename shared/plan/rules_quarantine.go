package plan

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

func (c *checker) quarantine(q *Quarantine, path string) {
	c.enum(string(q.Level), path+".level", string(LevelApplied), string(LevelEnforced))
	seen := map[string]bool{}
	for i, p := range q.Peers {
		at := fmt.Sprintf("%s.peers[%d]", path, i)
		c.peer(p, at)
		if seen[p.CIDR] && p.CIDR != "" {
			c.add(at+".cidr", p.CIDR, "is given twice", "each peer once")
		}
		seen[p.CIDR] = true
	}
	for i, p := range q.Probes {
		c.address(p, fmt.Sprintf("%s.probes[%d]", path, i))
	}
	if strings.ContainsAny(q.ProbeImage, " \t\r\n") || control.MatchString(q.ProbeImage) {
		c.add(path+".probeImage", q.ProbeImage, "is not an image", "a reference such as "+DefaultProbeImage)
	}
}

func (c *checker) peer(p Peer, path string) {
	at := path + ".cidr"
	prefix, err := netip.ParsePrefix(p.CIDR)
	switch {
	case p.CIDR == "":
	case err != nil:
		c.add(at, p.CIDR, "is not a CIDR", "a block such as 10.20.0.0/16")
	case prefix.Masked() != prefix:
		c.add(at, p.CIDR, "has bits set behind its prefix", prefix.Masked().String())
	case prefix.Bits() == 0:
		c.add(at, p.CIDR, "is every address and would open the quarantine", "the block of the peer")
	}
	seen := map[int]bool{}
	for i, port := range p.Ports {
		at := fmt.Sprintf("%s.ports[%d]", path, i)
		c.port(port, at)
		if seen[port] {
			c.add(at, strconv.Itoa(port), "is given twice", "each port once")
		}
		seen[port] = true
	}
}

// address wants host:port with a DNS name or an IP address.
func (c *checker) address(s, path string) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	_, ierr := netip.ParseAddr(host)
	name := len(validation.IsDNS1123Subdomain(strings.TrimSuffix(host, "."))) == 0
	if err != nil || perr != nil || n < 1 || n > 65535 || (ierr != nil && !name) || strconv.Itoa(n) != port {
		c.add(path, s, "is not an address", "host:port such as "+DefaultProbe)
	}
}

func (c *checker) pause(owners []PauseOwner, path string) {
	seen := map[string]bool{}
	for i, o := range owners {
		at := fmt.Sprintf("%s[%d]", path, i)
		gv, err := schema.ParseGroupVersion(o.APIVersion)
		if o.APIVersion != "" && (err != nil || gv.Version == "" || (gv.Group != "" && len(validation.IsDNS1123Subdomain(gv.Group)) > 0)) {
			c.add(at+".apiVersion", o.APIVersion, "is not an API version", "group/version such as autoscaling/v2")
		}
		c.matches(o.Kind, at+".kind", kind, "a kind such as HorizontalPodAutoscaler")
		c.label(o.Namespace, at+".namespace")
		c.subdomain(o.Name, at+".name")
		c.mergePatch(o.Patch, at+".patch")
		id := strings.Join([]string{gv.Group, o.Kind, o.Namespace, o.Name}, "/")
		if seen[id] {
			c.add(at, o.Kind+"/"+o.Name, "is given twice", "each owner once")
		}
		seen[id] = true
	}
}

// mergePatch wants a JSON merge patch that changes something (https://www.rfc-editor.org/rfc/rfc7386).
func (c *checker) mergePatch(s, path string) {
	if s == "" {
		return
	}
	var patch map[string]any
	err := json.Unmarshal([]byte(s), &patch)
	metadata, _ := patch["metadata"].(map[string]any)
	_, identity := metadata["name"]
	switch {
	case err != nil:
		c.add(path, s, "is not a JSON object", `a merge patch such as {"spec":{"suspend":true}}`)
	case len(patch) == 0:
		c.add(path, s, "changes nothing", `a merge patch such as {"spec":{"suspend":true}}`)
	case patch["kind"] != nil || patch["apiVersion"] != nil || identity:
		c.add(path, s, "changes what the object is", "a patch without apiVersion, kind and metadata.name")
	}
}
