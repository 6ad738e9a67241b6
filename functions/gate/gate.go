// Package gate is the application validation gate: the StatefulSet is ready and stays so (operation ready), and a read-only
// transaction on the database itself finds the data that the plan expects (operation transaction).
package gate

import (
	"context"
	"net"

	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations ready and transaction.
type Handler struct {
	Env *step.Env
	// Dial connects to a pod's port; cluster.Client.DialPod when nil.
	Dial func(ctx context.Context, c *cluster.Client, namespace, pod string, uid types.UID, port int) (net.Conn, error)
	// LookupEnv reads the variables that hold the credentials when the plan names variables; os.LookupEnv when nil.
	LookupEnv func(string) (string, bool)
	// Secrets reads AWS Secrets Manager when the plan names a secret there; nil where the process has no way to it.
	Secrets SecretsManager
}

// SecretsManager reads the text of a secret, by its name or ARN; region may be empty. Its errors are faults and hold nothing of the
// secret.
type SecretsManager interface {
	Read(ctx context.Context, id, region string) (string, error)
}

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Gate, error) {
	if op != "ready" && op != "transaction" {
		return run.Gate{}, fault.Newf(fault.Internal, "gate", "operation %q: expected ready or transaction", op)
	}
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.Gate{}, err
	}
	var out run.Gate
	if r.Gate != nil {
		out = *r.Gate
	}
	out.Rounds++
	if out.Deadline == nil {
		out.Deadline = s.Deadline(s.Plan.Spec.Gate.Budget)
	}
	if op == "ready" {
		return h.ready(ctx, s, out)
	}
	return h.transaction(ctx, s, out)
}

func (h *Handler) dial(ctx context.Context, s *step.Session, pod string, uid types.UID) (net.Conn, error) {
	port := s.Plan.Spec.Workload.Database.Port
	if h.Dial != nil {
		return h.Dial(ctx, s.Cluster, s.Target(), pod, uid, port)
	}
	return s.Cluster.DialPod(ctx, s.Target(), pod, uid, port)
}
