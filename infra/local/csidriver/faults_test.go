package csidriver_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"fallbackchain.io/fallback/infra/local/csidriver"
)

func TestFaultIsCounted(t *testing.T) {
	c := newClient(t)
	v, other := c.create("a", nil), c.create("b", nil)
	f := csidriver.Fault{RPC: "ControllerPublishVolume", Code: "ResourceExhausted", Message: "no slot", Count: 2, VolumeID: v, NodeID: "node-1"}
	if err := csidriver.SetFault(c.state, "slots", f); err != nil {
		t.Fatal(err)
	}
	if err := c.attach(other, "node-1"); err != nil {
		t.Errorf("the fault met another volume: %v", err)
	}
	if err := c.attach(v, "node-2"); err != nil {
		t.Errorf("the fault met another node: %v", err)
	}
	c.detach(v, "node-2")
	wantCode(t, c.attach(v, "node-1"), codes.ResourceExhausted)
	wantCode(t, c.attach(v, "node-1"), codes.ResourceExhausted)
	if err := c.attach(v, "node-1"); err != nil {
		t.Errorf("the fault outlived its count: %v", err)
	}
	if left, err := csidriver.Faults(c.state); err != nil || len(left) != 0 {
		t.Errorf("faults left: %v (%v), want none", left, err)
	}
}

func TestStuckUntilUnpublished(t *testing.T) {
	c := newClient(t)
	v, other := c.create("a", nil), c.create("b", nil)
	f := csidriver.Fault{RPC: "ControllerPublishVolume", Code: "Internal", Message: "VolumeInUse: stuck attaching", VolumeID: v, UntilUnpublished: true}
	if err := csidriver.SetFault(c.state, "stuck", f); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantCode(t, c.attach(v, "node-1"), codes.Internal)
	}
	c.detach(other, "node-1")
	wantCode(t, c.attach(v, "node-1"), codes.Internal)
	c.detach(v, "node-1")
	if err := c.attach(v, "node-1"); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

func TestFaultThatIsNoneIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		json string
		want string
	}{
		"rpc":     {`{"rpc":"Attach","code":"Internal"}`, `rpc is "Attach"`},
		"code":    {`{"rpc":"NodeGetInfo","code":"INTERNAL"}`, `code is "INTERNAL"`},
		"ok":      {`{"rpc":"NodeGetInfo","code":"OK"}`, `code is "OK"`},
		"count":   {`{"rpc":"NodeGetInfo","code":"Internal","count":-1}`, "count is -1"},
		"stuck":   {`{"rpc":"NodeGetInfo","code":"Internal","untilUnpublished":true}`, "volumeId is empty"},
		"unknown": {`{"rpc":"NodeGetInfo","code":"Internal","times":3}`, `unknown field "times"`},
		"text":    {`fail please`, "fault:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(csidriver.FaultsDir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(csidriver.FaultsDir(dir), "f.json"), []byte(tc.json), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := csidriver.Faults(dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "f.json") {
				t.Errorf("error is %v, want it to name f.json and %q", err, tc.want)
			}
			if len(got) != 0 {
				t.Errorf("faults %v, want none", got)
			}
		})
	}
	if err := csidriver.SetFault(t.TempDir(), "../x", csidriver.Fault{RPC: "NodeGetInfo", Code: "Internal"}); err == nil {
		t.Error("a fault name may leave the directory")
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add([]byte(`{"rpc":"ControllerPublishVolume","code":"Internal","message":"m","count":2,"volumeId":"v","untilUnpublished":true}`))
	f.Add([]byte(`{"rpc":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := csidriver.ParseFault(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := csidriver.ParseFault(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if d := cmp.Diff(v, again); d != "" {
			t.Errorf("does not round-trip:\n%s", d)
		}
	})
}
