package stack

import "os"

// auditPolicy records who asked for what, without bodies, once for each request (watches also when they begin):
// https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/.
const auditPolicy = `{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "rules": [{"level": "Metadata"}]
}
`

func writeAuditPolicy(l Layout) error {
	if err := os.MkdirAll(l.in("audit"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(l.auditPolicy(), []byte(auditPolicy), 0o600)
}
