// Package cluster builds clients of one Kubernetes cluster, and is the only place that does: dynamic client, REST mapping,
// readiness, and connections to a pod's port. Functions decode what the dynamic client returns into k8s.io/api structs
// (Get, List); no clientset is linked.
package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fallbackchain.io/fallback/shared/cluster/served"
)

// Mapper maps a kind to its resource; meta.IsNoMatchError tells that the server does not serve it. A meta.RESTMapper is one.
type Mapper interface {
	RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error)
}

// Discovery lists what the server serves.
type Discovery interface {
	Groups(context.Context) ([]served.Group, error)
}

// Client reaches one cluster.
type Client struct {
	Config  *rest.Config
	Dynamic dynamic.Interface
	// Mapper and Discovery know what the server's own discovery says: read once, and again when that is old or a kind is not found.
	Mapper    Mapper
	Discovery Discovery
	// Busy is the time that was spent waiting for this cluster.
	Busy *Busy
	http *http.Client
}

// Requests a second, and how many at once, that one run may send: it sends one after the other, and a namespace of thousands of objects
// needs three for each. What an API server can take it says itself, by priority and fairness (429 with Retry-After, which is honoured):
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
const (
	qps   = 200
	burst = 400
)

// requestTimeout bounds one request; watches are bounded by their context.
const requestTimeout = 15 * time.Second

// FromKubeconfig builds a client from a kubeconfig file; an empty context takes the file's current one.
func FromKubeconfig(path, kubeContext string) (*Client, error) {
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
		&clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return New(cfg)
}

// New builds a client from a rest.Config, which it copies.
func New(cfg *rest.Config) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	if cfg.QPS == 0 {
		cfg.QPS, cfg.Burst = qps, burst
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "fallback-chain"
	}
	// The API server's deprecation warnings are for whoever writes the manifests, not for the middle of a live view.
	cfg.WarningHandler = rest.NoWarnings{}
	busy := &Busy{}
	counted := rest.CopyConfig(cfg)
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper { return busyTransport{busy, startingTransport{next}} })
	h, err := rest.HTTPClientFor(counted)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	raw, err := rest.UnversionedRESTClientForConfigAndClient(dynamic.ConfigFor(cfg), h)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	apis := &served.APIs{Server: raw, Now: time.Now}
	return &Client{Config: cfg, Dynamic: dynamic.New(raw), Discovery: apis, Mapper: apis, Busy: busy, http: h}, nil
}

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

// get reads a path of the API server that is not an object; the body comes back with any status code.
func (c *Client) get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	base, _, err := rest.DefaultServerUrlFor(c.Config)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.ResolveReference(mustRef(path)).String(), http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	return resp.StatusCode, body, err
}

// Version asks the API server for its version.
func (c *Client) Version(ctx context.Context) (version.Info, error) {
	var v version.Info
	code, body, err := c.get(ctx, "/version")
	if err != nil {
		return v, err
	}
	if code != http.StatusOK {
		return v, answered(code, "/version")
	}
	return v, json.Unmarshal(body, &v)
}

// answered is the error of an answer that is not what was asked for, as the API machinery's own are: IsUnauthorized works on it.
func answered(code int, path string) error {
	err := apierrors.NewGenericServerResponse(code, "get", schema.GroupResource{}, "", "", 0, false)
	err.ErrStatus.Message = fmt.Sprintf("GET %s: HTTP %d %s", path, code, http.StatusText(code))
	return err
}
