package pki

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"slices"
)

// kubeconfig is the part of a kubeconfig that we write; as JSON, which is YAML
// (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/).
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Cert []byte `json:"client-certificate-data"`
		Key  []byte `json:"client-key-data"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// As is a further context of a kubeconfig: its name, the file name of its certificate and the identity that it connects as.
type As struct {
	Context, Name string
	Identity      Identity
}

// Kubeconfig writes a kubeconfig for an identity to path. The certificate is kept as name.crt beside the authority; cluster names
// the cluster and the context, which is the current one; server is the URL of the API server. Others get contexts of their own.
func (a *Authority) Kubeconfig(path, name, cluster, server string, id Identity, others ...As) error {
	k := kubeconfig{APIVersion: "v1", Kind: "Config", CurrentContext: cluster}
	var c namedCluster
	c.Name, c.Cluster.Server, c.Cluster.CA = cluster, server, a.pem
	k.Clusters = []namedCluster{c}
	for _, as := range append([]As{{cluster, name, id}}, others...) {
		cert, key, err := a.Client(as.Name, as.Identity)
		if err != nil {
			return fmt.Errorf("kubeconfig %s: %w", as.Name, err)
		}
		var u namedUser
		u.Name, u.User.Cert, u.User.Key = as.Name, cert, key
		var x namedContext
		x.Name, x.Context.Cluster, x.Context.User = as.Context, cluster, as.Name
		k.Users, k.Contexts = append(k.Users, u), append(k.Contexts, x)
	}
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	return write(path, append(data, '\n'))
}

func sameNames(have, want *x509.Certificate) bool {
	return have.Subject.CommonName == want.Subject.CommonName &&
		sameSet(have.Subject.Organization, want.Subject.Organization) &&
		slices.Equal(have.DNSNames, want.DNSNames) &&
		slices.EqualFunc(have.IPAddresses, want.IPAddresses, net.IP.Equal)
}

// sameSet ignores the order: the encoding of a certificate sorts the organizations.
func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
