package gate

import (
	"context"
	"encoding/json"
	"os"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/step"
)

// credentials reads the role from the Secret in the namespace that is validated, from AWS Secrets Manager, or from the process's
// environment. They are read anew by every call: a rotation is seen.
func (h *Handler) credentials(ctx context.Context, s *step.Session) (database.Credentials, error) {
	c := s.Plan.Spec.Workload.Database.Credentials
	switch {
	case c.Secret != nil:
		return fromSecret(ctx, s, c.Secret)
	case c.SecretsManager != nil:
		return h.fromSecretsManager(ctx, c.SecretsManager)
	case c.Environment != nil:
		return h.fromEnvironment(c.Environment)
	default:
		return database.Credentials{}, fault.Newf(fault.PlanInvalid, "read the database credentials",
			"spec.workload.database.credentials names none of a Secret, a secret of Secrets Manager, and environment variables")
	}
}

func fromSecret(ctx context.Context, s *step.Session, ref *plan.SecretRef) (database.Credentials, error) {
	op := "read Secret " + s.Target() + "/" + ref.Name
	sec, err := cluster.Get[corev1.Secret](ctx, s.Cluster, cluster.Secrets, s.Target(), ref.Name)
	if err != nil {
		return database.Credentials{}, cluster.Fault(op, err)
	}
	user, uok := sec.Data[ref.UsernameKey]
	pass, pok := sec.Data[ref.PasswordKey]
	if !uok || !pok {
		return database.Credentials{}, fault.Newf(fault.ObjectsMissing, op, "it has no keys %q and %q", ref.UsernameKey, ref.PasswordKey)
	}
	return database.Credentials{Username: string(user), Password: string(pass)}, nil
}

// fromSecretsManager reads a JSON object of texts, as RDS writes it
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html). What a broken one holds is not told.
func (h *Handler) fromSecretsManager(ctx context.Context, ref *plan.SecretsManagerRef) (database.Credentials, error) {
	op := "read secret " + ref.ID + " of Secrets Manager"
	if h.Secrets == nil {
		return database.Credentials{}, fault.Newf(fault.PlanInvalid, op, "this process cannot reach Secrets Manager")
	}
	value, err := h.Secrets.Read(ctx, ref.ID, ref.Region)
	if err != nil {
		return database.Credentials{}, err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &fields) != nil {
		return database.Credentials{}, fault.Newf(fault.ObjectsMissing, op, "its value is no JSON object")
	}
	text := func(key string) (string, bool) {
		var out string
		err := json.Unmarshal(fields[key], &out)
		return out, err == nil && out != ""
	}
	user, uok := text(ref.UsernameKey)
	pass, pok := text(ref.PasswordKey)
	if !uok || !pok {
		return database.Credentials{}, fault.Newf(fault.ObjectsMissing, op, "its value has no texts under %q and %q", ref.UsernameKey, ref.PasswordKey)
	}
	return database.Credentials{Username: user, Password: pass}, nil
}

func (h *Handler) fromEnvironment(ref *plan.EnvironmentRef) (database.Credentials, error) {
	lookup := h.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	user, uok := lookup(ref.Username)
	pass, pok := lookup(ref.Password)
	if !uok || !pok {
		return database.Credentials{}, fault.Newf(fault.ObjectsMissing, "read the database credentials", "the environment variables %s and %s are not both set", ref.Username, ref.Password)
	}
	return database.Credentials{Username: user, Password: pass}, nil
}
