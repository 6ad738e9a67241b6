package volume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// ClaimState is how a claim stands.
type ClaimState string

const (
	// Bound to its volume.
	Bound ClaimState = "Bound"
	// WaitingForConsumer: Pending as it should be, for the class binds when a pod is scheduled.
	WaitingForConsumer ClaimState = "WaitingForFirstConsumer"
	// NotYetMade: the claim does not exist and nothing says that it ever did; the StatefulSet makes it with its pod.
	NotYetMade ClaimState = "NotYetMade"
	// Missing: the claim does not exist, and a volume or the inventory says that it did.
	Missing ClaimState = "Missing"
	// Terminating: the claim is being deleted and goes when its pod does.
	Terminating ClaimState = "Terminating"
	// Lost: the claim's volume does not exist any more.
	Lost ClaimState = "Lost"
	// ClassMissing: Pending, and the class that should provision it does not exist.
	ClassMissing ClaimState = "ClassMissing"
	// ProvisioningFailed: Pending, and the provisioner said why it cannot make the volume.
	ProvisioningFailed ClaimState = "ProvisioningFailed"
	// Pending for any other reason (an immediate class that is not done yet, no volume that fits).
	Pending ClaimState = "Pending"
)

// Settled tells whether the claim keeps nobody from running: bound, or waiting as it should.
func (s ClaimState) Settled() bool { return s == Bound || s == WaitingForConsumer || s == NotYetMade }

// ClaimStatus is a claim with its state.
type ClaimStatus struct {
	Name    string
	State   ClaimState
	Message string
}

func (c ClaimStatus) String() string {
	if c.Message == "" {
		return fmt.Sprintf("claim %s: %s", c.Name, c.State)
	}
	return fmt.Sprintf("claim %s: %s (%s)", c.Name, c.State, c.Message)
}

// ClaimStatuses judges every claim in wanted. known are the claims that the inventory says existed (nil when there is no
// inventory); events are those of the namespace.
func (f *Facts) ClaimStatuses(wanted, known []string, events []corev1.Event) []ClaimStatus {
	out := make([]ClaimStatus, 0, len(wanted))
	for _, name := range wanted {
		c := f.Claim(name)
		if c == nil {
			out = append(out, f.absent(name, slices.Contains(known, name)))
			continue
		}
		out = append(out, claimStatus(c, f.Classes, events))
	}
	return out
}

// absent judges a claim that does not exist. A volume whose claimRef names it proves that it once did.
func (f *Facts) absent(name string, known bool) ClaimStatus {
	for _, v := range f.Volumes {
		if v.Spec.ClaimRef.Name == name {
			return ClaimStatus{name, Missing, fmt.Sprintf("volume %s (%s) was bound to it", v.Name, v.Status.Phase)}
		}
	}
	if known {
		return ClaimStatus{name, Missing, "the inventory holds it"}
	}
	return ClaimStatus{name, NotYetMade, "the StatefulSet makes it with its pod"}
}

func claimStatus(c *corev1.PersistentVolumeClaim, classes []storagev1.StorageClass, events []corev1.Event) ClaimStatus {
	switch {
	case c.DeletionTimestamp != nil:
		return ClaimStatus{c.Name, Terminating, "it is being deleted"}
	case c.Status.Phase == corev1.ClaimBound:
		return ClaimStatus{c.Name, Bound, ""}
	case c.Status.Phase == corev1.ClaimLost:
		return ClaimStatus{c.Name, Lost, fmt.Sprintf("volume %s does not exist", c.Spec.VolumeName)}
	}
	class, name := ClassOf(classes, c)
	if class == nil {
		if name == "" {
			return ClaimStatus{c.Name, ClassMissing, "it names no class and the cluster has no default class"}
		}
		return ClaimStatus{c.Name, ClassMissing, fmt.Sprintf("StorageClass %s does not exist", name)}
	}
	if msg := provisioningError(c, events); msg != "" {
		return ClaimStatus{c.Name, ProvisioningFailed, msg}
	}
	if WaitsForConsumer(class) && c.Spec.VolumeName == "" {
		return ClaimStatus{c.Name, WaitingForConsumer, ""}
	}
	return ClaimStatus{c.Name, Pending, fmt.Sprintf("class %s binds at once and has not bound it", class.Name)}
}

// provisioningError is the message of the claim's newest ProvisioningFailed event, unless a later one says that it is being
// provisioned again or is done (csi-provisioner emits Provisioning, ProvisioningSucceeded and ProvisioningFailed:
// https://github.com/kubernetes-sigs/sig-storage-lib-external-provisioner, controller/controller.go).
func provisioningError(c *corev1.PersistentVolumeClaim, events []corev1.Event) string {
	var newest *corev1.Event
	for i := range events {
		e := &events[i]
		if e.InvolvedObject.Kind != "PersistentVolumeClaim" || e.InvolvedObject.Name != c.Name || e.InvolvedObject.UID != c.UID {
			continue
		}
		if e.Reason != "ProvisioningFailed" && e.Reason != "ProvisioningSucceeded" {
			continue
		}
		if newest == nil || EventTime(newest).Before(EventTime(e)) {
			newest = e
		}
	}
	if newest == nil || newest.Reason != "ProvisioningFailed" {
		return ""
	}
	return newest.Message
}

// Unsettled are the claims that keep the workload from running.
func Unsettled(cs []ClaimStatus) []ClaimStatus {
	return slices.DeleteFunc(slices.Clone(cs), func(c ClaimStatus) bool { return c.State.Settled() })
}

// Join lists claims for people.
func Join(cs []ClaimStatus) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.String()
	}
	return out
}

// WantedClaims are the claims that should exist: those of the live StatefulSet, else of the one in the inventory, else those
// found by name. The result is sorted.
func (f *Facts) WantedClaims(fromInventory []string) []string {
	names := ClaimNames(f.StatefulSet)
	if f.StatefulSet == nil {
		names = slices.Clone(fromInventory)
		for _, c := range f.Claims {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}
