// Package signal holds observed conditions of the cluster, shaped as Kubernetes conditions are.
package signal

// Status is a condition's status. Unknown fails closed: it is never treated as True.
type Status string

const (
	True          Status = "True"
	False         Status = "False"
	Unknown       Status = "Unknown"
	NotApplicable Status = "NotApplicable"
)

// Statuses is the whole domain, in the order reports use.
var Statuses = []Status{True, False, Unknown, NotApplicable}

// Signal is one observed condition.
type Signal struct {
	Status Status `json:"status"`
	// Reason is one CamelCase word that programs may compare.
	Reason string `json:"reason"`
	// Message is for people.
	Message string `json:"message,omitempty"`
	// Evidence names what was read, e.g. "csidriver/local.csi.fallbackchain.io".
	Evidence []string `json:"evidence,omitempty"`
}

// Name of a signal as it stands in a section, a plan and a report.
type Name string

// The signals that assess reads.
const (
	APIServerReady       Name = "APIServerReady"
	CSIDriverHealthy     Name = "CSIDriverHealthy"
	CSIDriverSupported   Name = "CSIDriverSupported"
	VolumesAttached      Name = "VolumesAttached"
	PVCsBound            Name = "PVCsBound"
	EtcdSnapshotVerified Name = "EtcdSnapshotVerified"
	InventoryVerified    Name = "InventoryVerified"
	WorkloadReady        Name = "WorkloadReady"
	SchedulingPossible   Name = "SchedulingPossible"
)

// Names lists every signal in the order reports use. A section of assess always holds all of them.
var Names = []Name{APIServerReady, CSIDriverHealthy, CSIDriverSupported, VolumesAttached, PVCsBound,
	EtcdSnapshotVerified, InventoryVerified, WorkloadReady, SchedulingPossible}

// Set is all signals of one assessment.
type Set map[Name]Signal

// AllUnknown returns a set in which nothing could be read, for the given reason.
func AllUnknown(reason, message string) Set {
	s := Set{}
	for _, n := range Names {
		s[n] = Signal{Status: Unknown, Reason: reason, Message: message}
	}
	return s
}
