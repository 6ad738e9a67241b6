package csidriver_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"fallbackchain.io/fallback/infra/local/csidriver"
)

// client is what the scenarios call; every helper fails the test on an error it does not expect.
type client struct {
	t *testing.T
	csi.ControllerClient
	state string
}

func newClient(t *testing.T) *client {
	conn, _, state := serve(t)
	return &client{t: t, ControllerClient: csi.NewControllerClient(conn), state: state}
}

var mount = &csi.VolumeCapability{
	AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
}

func (c *client) create(name string, src *csi.VolumeContentSource) string {
	c.t.Helper()
	r, err := c.CreateVolume(c.t.Context(), &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: []*csi.VolumeCapability{mount}, VolumeContentSource: src})
	if err != nil {
		c.t.Fatalf("create %s: %v", name, err)
	}
	return r.Volume.VolumeId
}

func (c *client) attach(vol, node string) error {
	_, err := c.ControllerPublishVolume(c.t.Context(), &csi.ControllerPublishVolumeRequest{VolumeId: vol, NodeId: node, VolumeCapability: mount})
	return err
}

func (c *client) detach(vol, node string) {
	c.t.Helper()
	if _, err := c.ControllerUnpublishVolume(c.t.Context(), &csi.ControllerUnpublishVolumeRequest{VolumeId: vol, NodeId: node}); err != nil {
		c.t.Fatalf("detach %s: %v", vol, err)
	}
}

func (c *client) snapshot(name, vol string) string {
	c.t.Helper()
	r, err := c.CreateSnapshot(c.t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: vol})
	if err != nil {
		c.t.Fatalf("snapshot %s: %v", name, err)
	}
	return r.Snapshot.SnapshotId
}

func (c *client) path(vol string) string {
	return filepath.Join(csidriver.VolumesDir(c.state), vol, "data")
}

func (c *client) write(vol, text string) {
	c.t.Helper()
	if err := os.WriteFile(c.path(vol), []byte(text), 0o640); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(vol, text string) {
	c.t.Helper()
	b, err := os.ReadFile(c.path(vol))
	if err != nil || string(b) != text {
		c.t.Errorf("volume %s holds %q (%v), want %q", vol, b, err, text)
	}
}

func wantCode(t *testing.T, err error, c codes.Code) {
	t.Helper()
	if status.Code(err) != c {
		t.Errorf("error is %v, want code %s", err, c)
	}
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func TestSnapshotIsACopyOfItsInstant(t *testing.T) {
	c := newClient(t)
	v := c.create("a", nil)
	c.write(v, "before")
	s := c.snapshot("s", v)
	c.write(v, "after")
	if again := c.snapshot("s", v); again != s {
		t.Errorf("the same request made snapshot %s, want %s", again, s)
	}
	restored := c.create("b", fromSnapshot(s))
	c.want(restored, "before")
	c.want(v, "after")
	if _, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v}); err != nil {
		t.Fatal(err)
	}
	c.want(c.create("c", fromSnapshot(s)), "before")
	clone := c.create("d", &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: restored}}})
	c.want(clone, "before")
	info, err := os.Stat(c.path(clone))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode of the copied file is %v (%v), want 0640", info.Mode(), err)
	}
}

func TestOneNodeAtATime(t *testing.T) {
	c := newClient(t)
	v := c.create("a", nil)
	if err := c.attach(v, "node-1"); err != nil {
		t.Fatal(err)
	}
	if err := c.attach(v, "node-1"); err != nil {
		t.Errorf("the same attach again: %v", err)
	}
	wantCode(t, c.attach(v, "node-2"), codes.FailedPrecondition)
	_, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v})
	wantCode(t, err, codes.FailedPrecondition)
	c.detach(v, "node-2") // where it is not attached: nothing happens
	wantCode(t, c.attach(v, "node-2"), codes.FailedPrecondition)
	c.detach(v, "node-1")
	if err := c.attach(v, "node-2"); err != nil {
		t.Errorf("after the detach: %v", err)
	}
}

func TestRecordsSurviveTheDriver(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	first := func(t *testing.T) string {
		c := &client{t: t, state: state, ControllerClient: csi.NewControllerClient(serveAt(t, filepath.Join(t.TempDir(), "c.sock"), state))}
		v := c.create("a", nil)
		if err := c.attach(v, "node-1"); err != nil {
			t.Fatal(err)
		}
		return v
	}
	var v string
	t.Run("first driver", func(t *testing.T) { v = first(t) })
	// What a driver killed in the middle of a copy leaves behind.
	half := filepath.Join(csidriver.VolumesDir(state), "vol-x.unfinished")
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, state: state, ControllerClient: csi.NewControllerClient(serveAt(t, filepath.Join(t.TempDir(), "c.sock"), state))}
	wantCode(t, c.attach(v, "node-2"), codes.FailedPrecondition)
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the unfinished copy is still there (%v)", err)
	}
}

func TestAForeignStateFileIsRefused(t *testing.T) {
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "state.json"), []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := csidriver.New(csidriver.Options{StateDir: state}); err == nil {
		t.Error("a state file that cannot be read was taken as empty")
	}
}

func TestZones(t *testing.T) {
	c := newClient(t)
	topo := func(zones ...string) (out []*csi.Topology) {
		for _, z := range zones {
			out = append(out, &csi.Topology{Segments: map[string]string{csidriver.TopologyKey: z}})
		}
		return out
	}
	for name, tc := range map[string]struct {
		req  *csi.TopologyRequirement
		want []*csi.Topology
	}{
		"none":           {nil, topo(csidriver.DefaultZone)},
		"all requisite":  {&csi.TopologyRequirement{Requisite: topo("b", "c", "b"), Preferred: topo("c", "b")}, topo("b", "c")},
		"only preferred": {&csi.TopologyRequirement{Preferred: topo("b")}, topo("b")},
	} {
		r, err := c.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: []*csi.VolumeCapability{mount}, AccessibilityRequirements: tc.req})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tc.want, r.Volume.AccessibleTopology, protocmp.Transform()); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestOneDriverASocket(t *testing.T) {
	conn, sock, _ := serve(t)
	if _, err := csi.NewIdentityClient(conn).Probe(t.Context(), &csi.ProbeRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	d, err := csidriver.New(csidriver.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Serve(context.Background(), sock); err == nil {
		t.Error("a second driver took the socket of a living one")
	}
}
