package csidriver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ListVolumes lists the volumes by ID, with the nodes they are attached to.
func (d *Driver) ListVolumes(_ context.Context, q *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	var all []*csi.ListVolumesResponse_Entry
	_ = d.state.read(func(r *records) error {
		for _, v := range r.Volumes {
			all = append(all, &csi.ListVolumesResponse_Entry{Volume: v.toCSI(),
				Status: &csi.ListVolumesResponse_VolumeStatus{PublishedNodeIds: slices.Sorted(maps.Keys(v.Nodes))}})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b *csi.ListVolumesResponse_Entry) int {
		return cmp.Compare(a.Volume.VolumeId, b.Volume.VolumeId)
	})
	page, next, err := paginate(all, q.StartingToken, q.MaxEntries)
	if err != nil {
		return nil, err
	}
	return &csi.ListVolumesResponse{Entries: page, NextToken: next}, nil
}

// ListSnapshots lists the snapshots by ID, filtered as asked.
func (d *Driver) ListSnapshots(_ context.Context, q *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	var all []*csi.ListSnapshotsResponse_Entry
	_ = d.state.read(func(r *records) error {
		for _, s := range r.Snapshots {
			if (q.SnapshotId == "" || q.SnapshotId == s.ID) && (q.SourceVolumeId == "" || q.SourceVolumeId == s.Volume) {
				all = append(all, &csi.ListSnapshotsResponse_Entry{Snapshot: s.toCSI()})
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b *csi.ListSnapshotsResponse_Entry) int {
		return cmp.Compare(a.Snapshot.SnapshotId, b.Snapshot.SnapshotId)
	})
	page, next, err := paginate(all, q.StartingToken, q.MaxEntries)
	if err != nil {
		return nil, err
	}
	return &csi.ListSnapshotsResponse{Entries: page, NextToken: next}, nil
}

// paginate cuts one page; its token is the index of the next entry.
func paginate[T any](all []T, token string, most int32) ([]T, string, error) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(all) {
			return nil, "", status.Errorf(codes.Aborted, "starting_token %q is not one this driver gave", token)
		}
		from = n
	}
	if most <= 0 || from+int(most) >= len(all) {
		return all[from:], "", nil
	}
	to := from + int(most)
	return all[from:to], strconv.Itoa(to), nil
}
