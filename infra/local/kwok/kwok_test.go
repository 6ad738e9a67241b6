package kwok

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type stage struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ResourceRef struct{ Kind string }
		Selector    struct {
			MatchExpressions []struct {
				Key, Operator string
				Values        []string
			}
		}
		Next struct {
			StatusTemplate string
			Delete         bool
		}
	}
}

func readStages(t *testing.T) map[string]stage {
	t.Helper()
	all := map[string]stage{}
	for doc := range strings.SplitSeq(string(Stages()), "\n---\n") {
		var s stage
		if err := yaml.Unmarshal([]byte(doc), &s); err != nil {
			t.Fatal(err)
		}
		all[s.Metadata.Name] = s
	}
	return all
}

func TestStagesSpeakTheAnnotationsOfThePackage(t *testing.T) {
	all := readStages(t)
	for _, name := range []string{"pod-creating", "pod-running", "pod-ready"} {
		key := `.metadata.annotations["` + ReadyAnnotation + `"]`
		var keys []string
		for _, m := range all[name].Spec.Selector.MatchExpressions {
			keys = append(keys, m.Key)
		}
		if !slices.Contains(keys, key) {
			t.Errorf("%s does not look at %s", name, ReadyAnnotation)
		}
	}
	for _, name := range []string{"pod-running", "pod-ready"} {
		if !strings.Contains(all[name].Spec.Next.StatusTemplate, RestartsAnnotation) {
			t.Errorf("%s does not show %s", name, RestartsAnnotation)
		}
	}
	for _, name := range []string{"node-initialize", "node-not-ready", "node-heartbeat"} {
		ours := false
		for _, m := range all[name].Spec.Selector.MatchExpressions {
			ours = ours || m.Key == `.metadata.labels["`+NotReadyLabel+`"]`
		}
		if !ours {
			t.Errorf("%s does not look at %s", name, NotReadyLabel)
		}
	}
}

// TestStagesOfDeletedPods: only pod-delete may touch a pod that is being deleted, and only one without finalizers.
func TestStagesOfDeletedPods(t *testing.T) {
	for name, s := range readStages(t) {
		if s.Spec.ResourceRef.Kind != "Pod" {
			continue
		}
		want := map[string]string{".metadata.deletionTimestamp": "DoesNotExist"}
		if s.Spec.Next.Delete {
			want = map[string]string{".metadata.deletionTimestamp": "Exists", ".metadata.finalizers": "DoesNotExist"}
		}
		for _, m := range s.Spec.Selector.MatchExpressions {
			if want[m.Key] == m.Operator {
				delete(want, m.Key)
			}
		}
		if len(want) > 0 {
			t.Errorf("stage %s lacks %v", name, want)
		}
	}
}

func TestNodes(t *testing.T) {
	seen := map[string]bool{}
	for i := range MaxNodes {
		n, c := Node(i, "driver/zone"), CSINode(i, "uid", "driver", "driver/zone")
		if seen[n.Name] || n.Name != c.Name || n.Labels["driver/zone"] != n.Labels["topology.kubernetes.io/zone"] {
			t.Errorf("node %d: %s, CSINode %s, labels %v", i, n.Name, c.Name, n.Labels)
		}
		seen[n.Name] = true
		if n.Annotations[ManagedAnnotation] != ManagedValue || n.Annotations[AttachAnnotation] != "true" {
			t.Errorf("%s: annotations %v", n.Name, n.Annotations)
		}
		if d := c.Spec.Drivers[0]; d.NodeID != n.Name || d.TopologyKeys[0] != "driver/zone" || c.OwnerReferences[0].UID != "uid" {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	if Zone(0) != "local-a" {
		t.Errorf("first zone %s, expected local-a, the CSI driver's default", Zone(0))
	}
}

func TestStatusPointsToTheSimulation(t *testing.T) {
	s := Status("v1.2.3", 4711)
	if s.DaemonEndpoints.KubeletEndpoint.Port != 4711 || s.Addresses[0].Address != "127.0.0.1" || s.NodeInfo.KubeletVersion != "v1.2.3" {
		t.Errorf("%+v", s)
	}
}

func TestArgs(t *testing.T) {
	args := Args(Flags{Kubeconfig: "k", Cert: "c", Key: "y", Port: 4711})
	for flag, want := range map[string]string{"--kubeconfig": "k", "--tls-cert-file": "c", "--tls-private-key-file": "y",
		"--node-port": "4711", "--server-address": "127.0.0.1:4711", "--enable-crds": "Stage,PortForward"} {
		if i := slices.Index(args, flag); i < 0 || args[i+1] != want {
			t.Errorf("%s: not %q in %v", flag, want, args)
		}
	}
}
