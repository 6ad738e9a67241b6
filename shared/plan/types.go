// Package plan holds the FallbackPlan: the configuration of one workload's chain. The files types*.go are the schema; parsing,
// defaults, validation and the JSON Schema stand beside them.
package plan

// APIVersion and Kind of a plan.
const (
	APIVersion = "fallbackchain.io/v1alpha1"
	Kind       = "FallbackPlan"
)

// Plan is one workload's fallback chain.
type Plan struct {
	APIVersion string   `yaml:"apiVersion" json:"apiVersion"`
	Kind       string   `yaml:"kind" json:"kind"`
	Metadata   Metadata `yaml:"metadata" json:"metadata"`
	Spec       Spec     `yaml:"spec" json:"spec"`
}

// Metadata names the plan.
type Metadata struct {
	// Name is a DNS-1123 label; it is part of execution names, lease names and drill namespaces (at most 30 characters).
	Name string `yaml:"name" json:"name"`
}

// Spec is the plan proper.
type Spec struct {
	Workload Workload `yaml:"workload" json:"workload"`
	Cluster  Cluster  `yaml:"cluster" json:"cluster"`
	// Inventory is what should exist. Without it there is no ControlPlaneReconcile and no drill.
	Inventory *Inventory `yaml:"inventory,omitempty" json:"inventory,omitempty"`
	Volumes   Volumes    `yaml:"volumes,omitempty" json:"volumes,omitzero"`
	Tiers     Tiers      `yaml:"tiers,omitempty" json:"tiers,omitzero"`
	// APIServerWait is how long an assessment waits for an API server that does not answer.
	APIServerWait Duration   `yaml:"apiServerWait,omitempty" json:"apiServerWait,omitzero"`
	Gate          Gate       `yaml:"gate,omitempty" json:"gate,omitzero"`
	Quarantine    Quarantine `yaml:"quarantine,omitempty" json:"quarantine,omitzero"`
	Drill         Drill      `yaml:"drill,omitempty" json:"drill,omitzero"`
	Rollback      Rollback   `yaml:"rollback,omitempty" json:"rollback,omitzero"`
	// Pause names the owners that must be paused before a scale-down, and how.
	Pause      []PauseOwner `yaml:"pause,omitempty" json:"pause,omitempty"`
	Objectives Objectives   `yaml:"objectives,omitempty" json:"objectives,omitzero"`
	Schedule   Schedule     `yaml:"schedule,omitempty" json:"schedule,omitzero"`
	Triggers   Triggers     `yaml:"triggers,omitempty" json:"triggers,omitzero"`
	Notify     Notify       `yaml:"notify,omitempty" json:"notify,omitzero"`
}

// Workload is what is recovered.
type Workload struct {
	// Namespace that the workload runs in.
	Namespace string `yaml:"namespace" json:"namespace"`
	// StatefulSet of the database.
	StatefulSet string   `yaml:"statefulSet" json:"statefulSet"`
	Database    Database `yaml:"database" json:"database"`
}

// Cluster is where the workload runs. Exactly one field is set.
type Cluster struct {
	EKS        *EKS        `yaml:"eks,omitempty" json:"eks,omitempty"`
	Kubeconfig *Kubeconfig `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty"`
}

// EKS is a managed cluster.
type EKS struct {
	Name   string `yaml:"name" json:"name"`
	Region string `yaml:"region" json:"region"`
}

// Kubeconfig is a cluster reached through a file. A relative path is relative to the plan.
type Kubeconfig struct {
	Path    string `yaml:"path" json:"path"`
	Context string `yaml:"context,omitempty" json:"context,omitempty"`
}

// Volumes says where the CSI driver's controller can be seen.
type Volumes struct {
	// Controller is the Deployment of the driver's controller; without it the driver's health is judged by CSIDriver and
	// CSINode alone and the signal's message says so.
	Controller *DeploymentRef `yaml:"controller,omitempty" json:"controller,omitempty"`
}

// DeploymentRef names a Deployment.
type DeploymentRef struct {
	Namespace string `yaml:"namespace" json:"namespace"`
	Name      string `yaml:"name" json:"name"`
}

// Tiers configures each tier.
type Tiers struct {
	VolumeAttachmentSync  VolumeAttachmentSync  `yaml:"volumeAttachmentSync,omitempty" json:"volumeAttachmentSync,omitzero"`
	ControlPlaneReconcile ControlPlaneReconcile `yaml:"controlPlaneReconcile,omitempty" json:"controlPlaneReconcile,omitzero"`
	DegradedStatefulSet   DegradedStatefulSet   `yaml:"degradedStatefulSet,omitempty" json:"degradedStatefulSet,omitzero"`
	// FailedSchedulingPersistence is how long a FailedScheduling must last before it counts as not recoverable.
	FailedSchedulingPersistence Duration `yaml:"failedSchedulingPersistence,omitempty" json:"failedSchedulingPersistence,omitzero"`
}

// VolumeAttachmentSync is the tier that mends attachments.
type VolumeAttachmentSync struct {
	// Enabled defaults to true.
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// StuckAfter is how long an attach or detach may be under way before it counts as stuck.
	StuckAfter Duration `yaml:"stuckAfter,omitempty" json:"stuckAfter,omitzero"`
}

// ControlPlaneReconcile is the tier that brings back objects.
type ControlPlaneReconcile struct {
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// Overwrite allows to change objects that exist with other content.
	Overwrite bool `yaml:"overwrite,omitempty" json:"overwrite,omitempty"`
}

// DegradedStatefulSet is the tier that runs one replica in quarantine.
type DegradedStatefulSet struct {
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// Relax says what may be given up so that the one replica is scheduled.
	Relax Relax `yaml:"relax,omitempty" json:"relax,omitzero"`
}

// Relax says what the degraded replica gives up.
type Relax struct {
	NodeSelector   bool `yaml:"nodeSelector,omitempty" json:"nodeSelector,omitempty"`
	Affinity       bool `yaml:"affinity,omitempty" json:"affinity,omitempty"`
	TopologySpread bool `yaml:"topologySpread,omitempty" json:"topologySpread,omitempty"`
	TolerateAll    bool `yaml:"tolerateAll,omitempty" json:"tolerateAll,omitempty"`
	// CPU and Memory replace the requests of every container, as Kubernetes quantities; limits below them are raised.
	CPU    string `yaml:"cpu,omitempty" json:"cpu,omitempty"`
	Memory string `yaml:"memory,omitempty" json:"memory,omitempty"`
}

// TierEnabled tells whether a tier's enabled field lets it run: it does unless it says false.
func TierEnabled(b *bool) bool { return b == nil || *b }
