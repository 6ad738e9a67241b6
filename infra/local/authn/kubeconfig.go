package authn

import (
	"fmt"
	"os"
)

// WriteKubeconfig writes the file for kube-apiserver's --authentication-token-webhook-config-file that names the webhook at url.
func WriteKubeconfig(path, url string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: authenticator, cluster: {server: %q}}]
users: [{name: apiserver, user: {}}]
contexts: [{name: webhook, context: {cluster: authenticator, user: apiserver}}]
current-context: webhook
`, url), 0o600)
}
