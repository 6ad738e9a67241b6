package stack

import "time"

// TokenWebhook names a webhook that says whose bearer tokens are
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication).
type TokenWebhook struct {
	// Kubeconfig is the file that says where it is; empty: there is none.
	Kubeconfig string
	// Keep is how long an answer is used again; 0: not at all.
	Keep time.Duration
}

// tokens adds the webhook to the API server's arguments.
func (w TokenWebhook) tokens(all []component) {
	if w.Kubeconfig == "" {
		return
	}
	for i, c := range all {
		if c.spec.Name == APIServer {
			all[i].spec.Args = append(all[i].spec.Args, "--authentication-token-webhook-config-file", w.Kubeconfig,
				"--authentication-token-webhook-version", "v1", "--authentication-token-webhook-cache-ttl", w.Keep.String())
		}
	}
}
