// Package volume holds what is known about a workload's storage: claims, volumes, attachments and the CSI driver behind them.
// The judgements are pure functions over k8s.io/api structs; Read is the one place that asks the API server.
package volume

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// ClaimNames are the claims that a StatefulSet of so many replicas uses: <template>-<statefulset>-<ordinal>, counted from
// spec.ordinals.start, and the claims that its pods name directly
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#volume-claim-templates).
func ClaimNames(s *appsv1.StatefulSet) []string {
	if s == nil {
		return nil
	}
	var names []string
	for i := range Replicas(s) {
		for _, t := range s.Spec.VolumeClaimTemplates {
			names = append(names, t.Name+"-"+s.Name+"-"+strconv.Itoa(int(Start(s)+i)))
		}
	}
	for _, v := range s.Spec.Template.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && !slices.Contains(names, v.PersistentVolumeClaim.ClaimName) {
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return names
}

// Replicas is the wanted number of pods; the API's default is 1.
func Replicas(s *appsv1.StatefulSet) int32 {
	if s.Spec.Replicas == nil {
		return 1
	}
	return *s.Spec.Replicas
}

// Start is the first ordinal.
func Start(s *appsv1.StatefulSet) int32 {
	if s.Spec.Ordinals == nil {
		return 0
	}
	return s.Spec.Ordinals.Start
}

// ordinalName matches <anything>-<digits>.
var ordinalName = regexp.MustCompile(`^(.+)-(0|[1-9][0-9]*)$`)

// Ordinal splits a pod's or claim's name into what stands before the ordinal, and the ordinal.
func Ordinal(name string) (before string, ordinal int, ok bool) {
	m := ordinalName.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	n, err := strconv.Atoi(m[2])
	return m[1], n, err == nil
}

// IsPodOf tells whether a pod is one of the StatefulSet's: its name says so and no other controller owns it. It works when the
// StatefulSet itself is gone.
func IsPodOf(p *corev1.Pod, statefulSet string) bool {
	before, _, ok := Ordinal(p.Name)
	if !ok || before != statefulSet {
		return false
	}
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind == "StatefulSet" && o.Name == statefulSet
		}
	}
	return true
}

// IsClaimOf tells by the name alone whether a claim was made for the StatefulSet: <template>-<statefulset>-<ordinal>.
func IsClaimOf(claim, statefulSet string) bool {
	before, _, ok := Ordinal(claim)
	return ok && strings.HasSuffix(before, "-"+statefulSet) && len(before) > len(statefulSet)+1
}

// ClaimsOfPod are the names of the claims that a pod mounts, ephemeral ones included.
func ClaimsOfPod(p *corev1.Pod) []string {
	var names []string
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}

// Template is the claim template that a claim is made from, or nil.
func Template(s *appsv1.StatefulSet, claim string) *corev1.PersistentVolumeClaim {
	if s == nil {
		return nil
	}
	for i, t := range s.Spec.VolumeClaimTemplates {
		if before, _, ok := Ordinal(claim); ok && before == t.Name+"-"+s.Name {
			return &s.Spec.VolumeClaimTemplates[i]
		}
	}
	return nil
}

// betaClass is the annotation that named a claim's class before Kubernetes 1.6 and still wins over the field
// (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#class-1).
const betaClass = "volume.beta.kubernetes.io/storage-class"

// ClassName is a claim's class; set is false when the claim leaves it to the cluster's default.
func ClassName(c *corev1.PersistentVolumeClaim) (name string, set bool) {
	if v, ok := c.Annotations[betaClass]; ok {
		return v, true
	}
	if c.Spec.StorageClassName == nil {
		return "", false
	}
	return *c.Spec.StorageClassName, true
}
