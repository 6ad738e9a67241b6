// Package awsedge is what stands between the steps and AWS in a Lambda function: it wires plans, inventories and journals in
// S3 and clusters in EKS into a step.Env. What a local run has instead is in the CLI.
package awsedge

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awseks "github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/cluster/eks"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/step"
)

// Edge is a function's access to AWS.
type Edge struct {
	Config aws.Config
	S3     *s3.Client
	Env    *step.Env
	// JournalBucket holds the runs' journals.
	JournalBucket string
}

// New connects a function. env has been read for what the function itself needs; the journal bucket is read here, and every
// mistake in the environment is reported together, before anything else is done. Nothing is sent.
func New(ctx context.Context, env *lambdaboot.Env) (*Edge, error) {
	journals := env.Required("JOURNAL_BUCKET", "the bucket of the runs' journals")
	if err := env.Err(); err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, awslog.Load)
	if err != nil {
		return nil, err
	}
	e := &Edge{Config: cfg, S3: s3.NewFromConfig(cfg), JournalBucket: journals}
	clusters := &eks.Clusters{EKS: awseks.NewFromConfig(cfg), Tokens: eks.STS{Config: cfg}, Now: time.Now}
	e.Env = &step.Env{
		LoadPlan: s3store.Plans{S3: e.S3}.Load, Connect: connect(clusters), Inventory: inventories(e.S3), Backups: backups, Read: &step.BackupCache{},
		Journals: &s3store.Journals{S3: e.S3, Bucket: journals}, Evidence: s3store.Evidence{S3: e.S3, Bucket: journals},
		Guard: guard, Now: time.Now,
	}
	return e, nil
}

// connector reaches EKS clusters.
type connector interface {
	Connect(ctx context.Context, name, region string) (*cluster.Client, error)
}

func connect(c connector) func(context.Context, *plan.Plan) (*cluster.Client, error) {
	return func(ctx context.Context, p *plan.Plan) (*cluster.Client, error) {
		k := p.Spec.Cluster.EKS
		if k == nil {
			return nil, fault.Newf(fault.PlanInvalid, "reach the cluster of plan "+p.Metadata.Name,
				"spec.cluster.eks is not set: expected the name and Region of an EKS cluster, a function has no kubeconfig")
		}
		return c.Connect(ctx, k.Name, k.Region)
	}
}

// inventories opens manifest bundles in S3; the plan's path was made absolute when it was loaded.
func inventories(c s3store.S3) func(context.Context, run.PlanRef, *plan.Plan) (*inventory.Bundle, error) {
	return func(ctx context.Context, _ run.PlanRef, p *plan.Plan) (*inventory.Bundle, error) {
		if p.Spec.Inventory.Manifests == nil {
			return nil, fault.Newf(fault.InventoryBroken, "open the inventory", "the plan has no spec.inventory.manifests")
		}
		files, err := s3store.NewPrefix(ctx, c, p.Spec.Inventory.Manifests.Path, inventory.FileLimit)
		if err != nil {
			return nil, err
		}
		return inventory.Open(files)
	}
}

func guard(c *cluster.Client, p *plan.Plan, runID string) change.Guard {
	w := p.Spec.Workload
	return lease.NewGuard(c, lease.Name(w.Namespace, w.StatefulSet), runID)
}

// Step is a step's handler.
type Step[S any] func(ctx context.Context, op, state string, r run.Run) (S, error)

// Start is the whole main of a function whose step needs a step.Env and nothing else: it reads the environment, builds the
// step and runs it until Lambda ends the process.
func Start[S any](build func(*step.Env) Step[S]) {
	e, err := New(context.Background(), lambdaboot.NewEnv(os.LookupEnv))
	if err != nil {
		lambdaboot.Exit(err)
	}
	lambdaboot.Start(build(e.Env))
}
