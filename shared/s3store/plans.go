package s3store

import (
	"context"
	"errors"
	"strings"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// Plans reads plans from S3.
type Plans struct{ S3 S3 }

// Read gets s3://bucket/key. A plan that is not there, or not an S3 object, is PlanInvalid.
func (p Plans) Read(ctx context.Context, uri string) ([]byte, error) {
	op := "get plan " + uri
	l, err := parseURI(uri)
	if err != nil {
		return nil, fault.Newf(fault.PlanInvalid, op, "plan.uri: %v", err)
	}
	data, err := get(ctx, p.S3, l, plan.SizeLimit)
	if errors.Is(err, errTooLarge) {
		return nil, fault.New(fault.PlanInvalid, op, err)
	}
	if err != nil {
		err = classified("get plan", l, err)
		if f := fault.From(err); f.Code == fault.Internal { // NoSuchKey, NoSuchBucket, InvalidObjectState and the like
			f.Code = fault.PlanInvalid
		}
		return nil, err
	}
	return data, nil
}

// Load reads a run's plan, with defaults, and refuses bytes that are not the ones that were admitted. A reference without a
// digest is refused too: admit has pinned one.
func (p Plans) Load(ctx context.Context, ref run.PlanRef) (*plan.Plan, error) {
	op := "load plan " + ref.URI
	data, err := p.Read(ctx, ref.URI)
	if err != nil {
		return nil, err
	}
	if have := plan.Digest(data); have != ref.Digest {
		return nil, fault.Newf(fault.PlanInvalid, op, "the plan's bytes have the digest %s: expected %q, that of the plan that was admitted", have, ref.Digest)
	}
	out, problems := plan.Parse(ref.URI, data)
	if err := problems.Err(); err != nil {
		return nil, fault.New(fault.PlanInvalid, op, err)
	}
	out = out.WithDefaults()
	if i := out.Spec.Inventory; i != nil && i.Manifests != nil && !strings.HasPrefix(i.Manifests.Path, "s3://") {
		own, err := parseURI(ref.URI)
		if err != nil {
			return nil, fault.New(fault.PlanInvalid, op, err)
		}
		at, err := own.beside(i.Manifests.Path)
		if err != nil {
			return nil, fault.Newf(fault.PlanInvalid, op, "spec.inventory.manifests.path: %v", err)
		}
		i.Manifests.Path = at.String()
	}
	return out, nil
}
