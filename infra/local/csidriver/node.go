package csidriver

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodeGetInfo names the node the driver stands for.
func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.opt.NodeID, MaxVolumesPerNode: 20,
		AccessibleTopology: &csi.Topology{Segments: map[string]string{TopologyKey: DefaultZone}}}, nil
}

// NodeGetCapabilities names nothing beyond publish and unpublish.
func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodePublishVolume puts a link to the volume's directory at the target path: simulated nodes have no mounts, and a link needs
// no privilege.
func (d *Driver) NodePublishVolume(_ context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if q.VolumeId == "" || q.TargetPath == "" || q.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, target_path and volume_capability must be set")
	}
	if err := d.exists(q.VolumeId); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(d.volumeDir(q.VolumeId))
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if at, err := os.Readlink(q.TargetPath); err == nil && at == dir {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(q.TargetPath), 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Symlink(dir, q.TargetPath); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume removes the link, never what it points to.
func (d *Driver) NodeUnpublishVolume(_ context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if q.VolumeId == "" || q.TargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id and target_path must be set")
	}
	if err := os.Remove(q.TargetPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
