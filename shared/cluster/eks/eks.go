// Package eks reaches EKS clusters: it reads a cluster's endpoint and certificate authority once for each process, and signs
// the tokens that the cluster's IAM authenticator accepts.
package eks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
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

// Clusters keeps one client for each cluster. Safe for concurrent use.
type Clusters struct {
	EKS    Describer
	Tokens Minter
	Now    func() time.Time

	mu   sync.Mutex
	warm map[key]*cluster.Client
}

type key struct{ name, region string }

// Connect returns the client of a cluster. The cluster is described in its own Region at the first call; a failure is not kept.
func (c *Clusters) Connect(ctx context.Context, name, region string) (*cluster.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{name, region}
	if have, ok := c.warm[k]; ok {
		return have, nil
	}
	cfg, err := c.describe(ctx, k)
	if err != nil {
		return nil, err
	}
	tokens := &tokenSource{now: c.Now, mint: func(ctx context.Context) (string, time.Time, error) { return c.Tokens.Mint(ctx, name, region) }}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &transport{tokens: tokens, next: next} })
	made, err := cluster.New(cfg)
	if err != nil {
		return nil, fault.New(fault.Internal, "make a client of EKS cluster "+name, err)
	}
	if c.warm == nil {
		c.warm = map[key]*cluster.Client{}
	}
	c.warm[k] = made
	return made, nil
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
