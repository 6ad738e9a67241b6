package csidriver

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fallbackchain.io/fallback/infra/local/csidriver/inuse"
)

// defaultSize is the size of a volume that was requested without one.
const defaultSize = 1 << 30

// ControllerGetCapabilities lists what the controller can do.
func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	} {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

func (d *Driver) volumeDir(id string) string {
	return filepath.Join(VolumesDir(d.opt.StateDir), filepath.Base(id))
}

func (d *Driver) snapshotDir(id string) string {
	return filepath.Join(snapshotsDir(d.opt.StateDir), filepath.Base(id))
}

// supported tells what is wrong with requested capabilities, "" for nothing: directories on one node at a time.
func supported(caps []*csi.VolumeCapability) string {
	for _, c := range caps {
		if c.GetBlock() != nil {
			return "volumes are directories: access type block is not supported, expected mount"
		}
		switch m := c.GetAccessMode().GetMode(); m {
		case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER,
			csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
			return "access mode " + m.String() + " is not supported, expected one of the single node modes"
		}
	}
	return ""
}

// toCSI is a volume as the specification has it.
func (v *volume) toCSI() *csi.Volume {
	r := &csi.Volume{VolumeId: v.ID, CapacityBytes: v.SizeBytes}
	for _, z := range v.Zones {
		r.AccessibleTopology = append(r.AccessibleTopology, &csi.Topology{Segments: map[string]string{TopologyKey: z}})
	}
	switch {
	case v.FromSnapshot != "":
		r.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: v.FromSnapshot}}}
	case v.FromVolume != "":
		r.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.FromVolume}}}
	}
	return r
}

// CreateVolume makes a directory: empty, or a copy of a snapshot or of another volume.
func (d *Driver) CreateVolume(_ context.Context, q *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if q.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "name is empty")
	}
	if len(q.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_capabilities is empty")
	}
	if m := supported(q.VolumeCapabilities); m != "" {
		return nil, status.Error(codes.InvalidArgument, m)
	}
	need, limit := q.GetCapacityRange().GetRequiredBytes(), q.GetCapacityRange().GetLimitBytes()
	want := &volume{ID: handle("vol-", q.Name), Name: q.Name, SizeBytes: need, Zones: zonesOf(q.GetAccessibilityRequirements()),
		FromSnapshot: q.GetVolumeContentSource().GetSnapshot().GetSnapshotId(),
		FromVolume:   q.GetVolumeContentSource().GetVolume().GetVolumeId()}
	var out *csi.Volume
	err := d.state.update(func(r *records) error {
		if v := r.Volumes[want.ID]; v != nil {
			if v.SizeBytes < need || (limit > 0 && v.SizeBytes > limit) || v.FromSnapshot != want.FromSnapshot || v.FromVolume != want.FromVolume {
				return status.Errorf(codes.AlreadyExists, "volume %q exists with another size or source", q.Name)
			}
			out = v.toCSI()
			return nil
		}
		src, least, err := d.source(r, want)
		if err != nil {
			return err
		}
		want.SizeBytes = max(need, least)
		if want.SizeBytes == 0 {
			want.SizeBytes = defaultSize
		}
		if limit > 0 && want.SizeBytes > limit {
			return status.Errorf(codes.OutOfRange, "limit is %d bytes, expected at least %d", limit, want.SizeBytes)
		}
		if free := d.opt.Capacity - r.claimed(); want.SizeBytes > free {
			return status.Errorf(codes.ResourceExhausted, "%d bytes asked, %d of %d free", want.SizeBytes, free, d.opt.Capacity)
		}
		if err := d.fill(d.volumeDir(want.ID), src); err != nil {
			return err
		}
		r.Volumes[want.ID] = want
		out = want.toCSI()
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.CreateVolumeResponse{Volume: out}, nil
}

// source finds the directory a new volume is a copy of ("" for none) and the least size it must have.
func (d *Driver) source(r *records, v *volume) (string, int64, error) {
	switch {
	case v.FromSnapshot != "":
		s := r.Snapshots[v.FromSnapshot]
		if s == nil {
			return "", 0, status.Errorf(codes.NotFound, "source snapshot %q does not exist", v.FromSnapshot)
		}
		return d.snapshotDir(s.ID), s.SizeBytes, nil
	case v.FromVolume != "":
		s := r.Volumes[v.FromVolume]
		if s == nil {
			return "", 0, status.Errorf(codes.NotFound, "source volume %q does not exist", v.FromVolume)
		}
		return d.volumeDir(s.ID), s.SizeBytes, nil
	}
	return "", 0, nil
}

// fill makes dst from src while nobody writes to src.
func (d *Driver) fill(dst, src string) error {
	if src != "" {
		thaw, err := inuse.Freeze(src)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		defer thaw()
	}
	if err := makeDir(dst, src); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// zonesOf are the zones of the requisite topologies, or of the preferred ones when there are none, each once.
func zonesOf(q *csi.TopologyRequirement) []string {
	var out []string
	for _, ts := range [][]*csi.Topology{q.GetRequisite(), q.GetPreferred()} {
		for _, t := range ts {
			if z := t.GetSegments()[TopologyKey]; z != "" && !slices.Contains(out, z) {
				out = append(out, z)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return []string{DefaultZone}
}

// DeleteVolume removes the directory; never while the volume is attached.
func (d *Driver) DeleteVolume(_ context.Context, q *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if q.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id is empty")
	}
	err := d.state.update(func(r *records) error {
		v := r.Volumes[q.VolumeId]
		if v == nil {
			return nil
		}
		for n := range v.Nodes {
			return status.Errorf(codes.FailedPrecondition, "VolumeInUse: volume %s is attached to node %s", v.ID, n)
		}
		if err := os.RemoveAll(d.volumeDir(v.ID)); err != nil {
			return err
		}
		delete(r.Volumes, v.ID)
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ValidateVolumeCapabilities confirms what CreateVolume accepts.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, q *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if q.VolumeId == "" || len(q.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_id and volume_capabilities must be set")
	}
	if err := d.exists(q.VolumeId); err != nil {
		return nil, err
	}
	if m := supported(q.VolumeCapabilities); m != "" {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: m}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: q.VolumeCapabilities, VolumeContext: q.VolumeContext, Parameters: q.Parameters}}, nil
}

func (d *Driver) exists(volumeID string) error {
	return d.state.read(func(r *records) error {
		if r.Volumes[volumeID] == nil {
			return status.Errorf(codes.NotFound, "volume %q does not exist", volumeID)
		}
		return nil
	})
}

// GetCapacity is what the volumes have not claimed, the same for every zone.
func (d *Driver) GetCapacity(_ context.Context, q *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	out := &csi.GetCapacityResponse{}
	if supported(q.VolumeCapabilities) != "" {
		return out, nil
	}
	err := d.state.read(func(r *records) error {
		out.AvailableCapacity = max(0, d.opt.Capacity-r.claimed())
		return nil
	})
	return out, err
}

// asStatus gives errors that are not yet gRPC statuses the code Internal.
func asStatus(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, strings.TrimSpace(err.Error()))
}
