package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// DefaultName is the stack that commands mean when none is named.
const DefaultName = "default"

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// DefaultDir is the state directory of the named stack: below XDG_STATE_HOME or ~/.local/state
// (https://specifications.freedesktop.org/basedir-spec/latest/), for root below /var/lib, because databases run as another user
// and must be able to reach their volumes.
func DefaultDir(name string) (string, error) {
	if !nameRule.MatchString(name) {
		return "", fmt.Errorf("stack name %q: expected up to 40 lower-case letters, digits and inner hyphens", name)
	}
	base := os.Getenv("XDG_STATE_HOME")
	switch {
	case filepath.IsAbs(base):
	case os.Geteuid() == 0:
		base = "/var/lib"
	default:
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no state directory (set XDG_STATE_HOME): %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "fallback-chain", name), nil
}

// Layout names the files of a state directory.
type Layout struct{ Dir string }

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return l.kubeconfig(admin) }

// AuditLog is the API server's, one JSON event a line.
func (l Layout) AuditLog() string { return l.in("audit", "audit.log") }

// CSIState is the CSI driver's state directory, with its volumes and faults.
func (l Layout) CSIState() string { return l.in("csi") }

// Log is the file that takes a component's output.
func (l Layout) Log(component string) string { return l.in("log", component+".log") }

// SupervisorLog is the output of a detached supervisor.
func (l Layout) SupervisorLog() string { return l.Log("supervisor") }

// CSISocket is where the CSI driver listens.
func (l Layout) CSISocket() string { return l.socket("csi.sock") }

// ControlSocket is where the supervisor listens.
func (l Layout) ControlSocket() string { return l.socket("control.sock") }

func (l Layout) in(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

func (l Layout) kubeconfig(name string) string { return l.in("kubeconfig", name) }
func (l Layout) pki(file string) string        { return l.in("pki", file) }
func (l Layout) bin(program string) string     { return l.in("bin", program) }
func (l Layout) marker() string                { return l.in("stack.json") }
func (l Layout) records() string               { return l.in("processes.json") }
func (l Layout) auditPolicy() string           { return l.in("audit", "policy.json") }
func (l Layout) crds() string                  { return l.in("share", "crds") }
func (l Layout) agent() string                 { return l.in("agent") }
func (l Layout) etcd() string                  { return l.in("etcd") }
func (l Layout) lock() string                  { return l.in("lock") }
func (l Layout) s3Objects() string             { return l.in("s3", "objects") }
func (l Layout) s3Versions() string            { return l.in("s3", "versions") }

// maxSocketPath is the longest path every Unix takes for a socket (104 bytes on the BSDs, with the end mark).
const maxSocketPath = 103

// socket is a path in the run directory or, where that is too long for a socket, in a directory of the same owner below the
// temporary one, the same for every process that asks.
func (l Layout) socket(name string) string {
	p := l.in("run", name)
	if len(p) <= maxSocketPath {
		return p
	}
	h := sha256.Sum256([]byte(l.Dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("fallback-%d-%s", os.Getuid(), hex.EncodeToString(h[:6])), name)
}
