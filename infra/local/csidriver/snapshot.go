package csidriver

import (
	"context"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// toCSI is a snapshot as the specification has it.
func (s *snapshot) toCSI() *csi.Snapshot {
	return &csi.Snapshot{SnapshotId: s.ID, SourceVolumeId: s.Volume, SizeBytes: s.SizeBytes, CreationTime: timestamppb.New(s.TakenAt), ReadyToUse: true}
}

// CreateSnapshot copies the volume's directory as it is at one instant.
func (d *Driver) CreateSnapshot(_ context.Context, q *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if q.Name == "" || q.SourceVolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "name and source_volume_id must be set")
	}
	var out *csi.Snapshot
	err := d.state.update(func(r *records) error {
		id := handle("snap-", q.Name)
		if s := r.Snapshots[id]; s != nil {
			if s.Volume != q.SourceVolumeId {
				return status.Errorf(codes.AlreadyExists, "snapshot %q exists with source volume %q", q.Name, s.Volume)
			}
			out = s.toCSI()
			return nil
		}
		v := r.Volumes[q.SourceVolumeId]
		if v == nil {
			return status.Errorf(codes.NotFound, "source volume %q does not exist", q.SourceVolumeId)
		}
		at := d.opt.Now().UTC()
		if err := d.fill(d.snapshotDir(id), d.volumeDir(v.ID)); err != nil {
			return err
		}
		s := &snapshot{ID: id, Name: q.Name, Volume: v.ID, SizeBytes: v.SizeBytes, TakenAt: at}
		r.Snapshots[id] = s
		out = s.toCSI()
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: out}, nil
}

// DeleteSnapshot removes the copy. Volumes made from it are copies of their own and stay.
func (d *Driver) DeleteSnapshot(_ context.Context, q *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if q.SnapshotId == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot_id is empty")
	}
	err := d.state.update(func(r *records) error {
		s := r.Snapshots[q.SnapshotId]
		if s == nil {
			return nil
		}
		if err := os.RemoveAll(d.snapshotDir(s.ID)); err != nil {
			return err
		}
		delete(r.Snapshots, s.ID)
		return nil
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}
