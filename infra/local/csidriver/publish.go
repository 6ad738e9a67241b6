package csidriver

import (
	"context"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// knownNode tells whether a node ID may exist.
func (d *Driver) knownNode(id string) bool {
	return id == d.opt.NodeID || strings.HasPrefix(id, d.opt.NodePrefix)
}

// ControllerPublishVolume records that the volume is attached to the node, and refuses while it is attached to another.
func (d *Driver) ControllerPublishVolume(_ context.Context, q *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	if q.VolumeId == "" || q.NodeId == "" || q.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, node_id and volume_capability must be set")
	}
	if m := supported([]*csi.VolumeCapability{q.VolumeCapability}); m != "" {
		return nil, status.Error(codes.InvalidArgument, m)
	}
	err := d.state.update(func(r *records) error {
		v := r.Volumes[q.VolumeId]
		if v == nil {
			return status.Errorf(codes.NotFound, "volume %q does not exist", q.VolumeId)
		}
		if !d.knownNode(q.NodeId) {
			return status.Errorf(codes.NotFound, "node %q does not exist", q.NodeId)
		}
		for n, readonly := range v.Nodes {
			if n != q.NodeId {
				return status.Errorf(codes.FailedPrecondition, "Multi-Attach: volume %s is attached to node %s, expected it to be detached from there first", v.ID, n)
			}
			if readonly != q.Readonly {
				return status.Errorf(codes.AlreadyExists, "volume %s is attached to node %s with readonly=%t", v.ID, n, readonly)
			}
		}
		v.Nodes = map[string]bool{q.NodeId: q.Readonly}
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{"path": d.volumeDir(q.VolumeId)}}, nil
}

// ControllerUnpublishVolume forgets the attachment; for a node or a volume that is gone it succeeds too.
func (d *Driver) ControllerUnpublishVolume(_ context.Context, q *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	if q.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id is empty")
	}
	err := d.state.update(func(r *records) error {
		v := r.Volumes[q.VolumeId]
		switch {
		case v == nil:
		case q.NodeId == "": // from all nodes, says the specification
			v.Nodes = nil
		default:
			delete(v.Nodes, q.NodeId)
		}
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}
