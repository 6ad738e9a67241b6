package kwok

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MaxNodes is the greatest number of simulated nodes: one a letter.
const MaxNodes = 26

// Region is the region label of every simulated node.
const Region = "local"

// NodeName is the name of the i-th node, from 0: node-a, node-b, ...
func NodeName(i int) string { return fmt.Sprintf("node-%c", 'a'+i) }

// Zone is the zone of the i-th node: every node is in one of its own.
func Zone(i int) string { return fmt.Sprintf("%s-%c", Region, 'a'+i) }

// Node is the i-th simulated node as a kubelet would have registered it, without its status.
func Node(i int, topologyKey string) *corev1.Node {
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: NodeName(i),
			Labels: map[string]string{
				corev1.LabelHostname:       NodeName(i),
				corev1.LabelOSStable:       "linux",
				corev1.LabelArchStable:     "amd64",
				corev1.LabelTopologyRegion: Region,
				corev1.LabelTopologyZone:   Zone(i),
				topologyKey:                Zone(i),
			},
			Annotations: map[string]string{ManagedAnnotation: ManagedValue, AttachAnnotation: "true"},
		},
	}
}

// Status is what a node has, and where its kubelet is reached: the simulation's port, which may change between starts.
func Status(version string, port int) corev1.NodeStatus {
	have := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	return corev1.NodeStatus{
		Capacity: have, Allocatable: have,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: version, OperatingSystem: "linux", Architecture: "amd64", OSImage: "simulated",
			ContainerRuntimeVersion: "kwok://", KernelVersion: "simulated",
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
	}
}

// CSINode is what a kubelet writes when a CSI driver registers on a node. It goes with the node (owner reference).
func CSINode(i int, node types.UID, driver, topologyKey string) *storagev1.CSINode {
	volumes := int32(20)
	return &storagev1.CSINode{
		TypeMeta: metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "CSINode"},
		ObjectMeta: metav1.ObjectMeta{Name: NodeName(i), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: NodeName(i), UID: node},
		}},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
			Name: driver, NodeID: NodeName(i), TopologyKeys: []string{topologyKey},
			Allocatable: &storagev1.VolumeNodeResources{Count: &volumes},
		}}},
	}
}
