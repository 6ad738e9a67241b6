// Package eks reaches EKS clusters: it reads a cluster's endpoint and certificate authority once for each process, and again when the
// endpoint stops answering, and signs the tokens that the cluster's IAM authenticator accepts.
package eks

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awseks "github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
)

// Describer describes clusters; *eks.Client is one.
type Describer interface {
	DescribeCluster(context.Context, *awseks.DescribeClusterInput, ...func(*awseks.Options)) (*awseks.DescribeClusterOutput, error)
}

// Minter mints a token for a cluster.
type Minter interface {
	Mint(ctx context.Context, name, region string) (token string, expires time.Time, err error)
}

const (
	// idle is how long connections are kept that nobody used: what stands before an EKS endpoint drops them after 350 s
	// (https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#connection-idle-timeout), and a
	// function that was frozen meanwhile is not told.
	idle = time.Minute
	// again is how long after a description an endpoint that does not answer is not described once more.
	again = 30 * time.Second
)

// Clusters keeps one client for each cluster. Safe for concurrent use.
type Clusters struct {
	EKS    Describer
	Tokens Minter
	Now    func() time.Time

	mu   sync.Mutex
	warm map[key]*warm
}

type key struct{ name, region string }

// warm is a cluster that was described.
type warm struct {
	client *cluster.Client
	config *rest.Config
	// described and used are when that was last done.
	described, used time.Time
	// failed: a request had no answer since it was described.
	failed atomic.Bool
}

// Connect returns the client of a cluster. The cluster is described in its own Region at the first call, and again at the next call after
// its endpoint had no answer for a request, as one that was replaced or has another certificate authority; a failure is not kept.
func (c *Clusters) Connect(ctx context.Context, name, region string) (*cluster.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, now := key{name, region}, c.Now()
	have := c.warm[k]
	if have != nil && (!have.failed.Load() || now.Sub(have.described) < again) {
		return have.use(now), nil
	}
	cfg, err := c.describe(ctx, k)
	switch {
	case err != nil && have != nil && fault.From(err).Code != fault.PlanInvalid:
		// EKS does not say either. The cluster may be back where it was.
		return have.use(now), nil
	case err != nil:
		return nil, err
	case have != nil && have.config.Host == cfg.Host && bytes.Equal(have.config.CAData, cfg.CAData):
		have.failed.Store(false)
		have.described = now
		return have.use(now), nil
	}
	w := &warm{config: rest.CopyConfig(cfg), described: now}
	tokens := &tokenSource{now: c.Now, mint: func(ctx context.Context) (string, time.Time, error) { return c.Tokens.Mint(ctx, name, region) }}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &transport{tokens: tokens, failed: &w.failed, next: next}
	})
	if w.client, err = cluster.New(cfg); err != nil {
		return nil, fault.New(fault.Internal, "make a client of EKS cluster "+name, err)
	}
	if c.warm == nil {
		c.warm = map[key]*warm{}
	}
	c.warm[k] = w
	return w.use(now), nil
}

// use takes the client into use; connections that may have died unnoticed are not used again.
func (w *warm) use(now time.Time) *cluster.Client {
	if !w.used.IsZero() && now.Sub(w.used) > idle {
		w.client.CloseIdle()
	}
	w.used = now
	return w.client
}

// describe reads where the cluster is. Fields:
// https://docs.aws.amazon.com/eks/latest/APIReference/API_Cluster.html.
func (c *Clusters) describe(ctx context.Context, k key) (*rest.Config, error) {
	op := fmt.Sprintf("describe EKS cluster %s in %s", k.name, k.region)
	out, err := c.EKS.DescribeCluster(ctx, &awseks.DescribeClusterInput{Name: aws.String(k.name)}, func(o *awseks.Options) { o.Region = k.region })
	if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
		return nil, fault.Newf(fault.PlanInvalid, op, "spec.cluster.eks: there is no such cluster: expected one that exists in this account and Region")
	}
	if err != nil {
		return nil, awsfault.Fault(op, err)
	}
	if out.Cluster == nil || aws.ToString(out.Cluster.Endpoint) == "" || out.Cluster.CertificateAuthority == nil {
		status := types.ClusterStatus("unknown")
		if out.Cluster != nil {
			status = out.Cluster.Status
		}
		return nil, fault.Newf(fault.Unavailable, op, "the cluster has no endpoint or no certificate authority; its status is %s, expected ACTIVE", status)
	}
	ca, err := base64.StdEncoding.DecodeString(aws.ToString(out.Cluster.CertificateAuthority.Data))
	if err != nil || len(ca) == 0 {
		return nil, fault.Newf(fault.Unavailable, op, "its certificate authority is not base64 of a certificate (%v)", err)
	}
	return &rest.Config{Host: aws.ToString(out.Cluster.Endpoint), TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, nil
}
