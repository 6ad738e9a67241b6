package csidriver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Fault makes the driver fail. Each is a JSON file in FaultsDir; the driver reads them at every call, and removes one when it
// is used up, so a file that is there is a fault in force.
type Fault struct {
	// RPC is the CSI method's name, e.g. ControllerPublishVolume.
	RPC string `json:"rpc"`
	// Code is the gRPC code's name as Go writes it, e.g. Internal.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Count is how many calls fail; 0 means all until the file is removed.
	Count int `json:"count,omitempty"`
	// VolumeID and NodeID limit the fault to calls that name them.
	VolumeID string `json:"volumeId,omitempty"`
	NodeID   string `json:"nodeId,omitempty"`
	// UntilUnpublished ends the fault when ControllerUnpublishVolume succeeds for VolumeID: an attachment that stays stuck until it
	// is reset. It needs VolumeID.
	UntilUnpublished bool `json:"untilUnpublished,omitempty"`
}

var faultName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?$`)

// methods are the RPCs a fault may name.
func methods() []string {
	var out []string
	for _, d := range []grpc.ServiceDesc{csi.Identity_ServiceDesc, csi.Controller_ServiceDesc, csi.Node_ServiceDesc} {
		for _, m := range d.Methods {
			out = append(out, m.MethodName)
		}
	}
	return out
}

func (f Fault) code() (codes.Code, bool) {
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		if c.String() == f.Code {
			return c, true
		}
	}
	return 0, false
}

// Validate says what is wrong with a fault.
func (f Fault) Validate() error {
	var errs []error
	if !slices.Contains(methods(), f.RPC) {
		errs = append(errs, fmt.Errorf("rpc is %q, expected a CSI method such as ControllerPublishVolume", f.RPC))
	}
	if _, ok := f.code(); !ok {
		errs = append(errs, fmt.Errorf("code is %q, expected a gRPC code such as Internal", f.Code))
	}
	if f.Count < 0 {
		errs = append(errs, fmt.Errorf("count is %d, expected 0 or more", f.Count))
	}
	if f.UntilUnpublished && f.VolumeID == "" {
		errs = append(errs, errors.New("volumeId is empty, expected a volume because untilUnpublished is set"))
	}
	return errors.Join(errs...)
}

// ParseFault reads a fault file.
func ParseFault(b []byte) (Fault, error) {
	var f Fault
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Fault{}, fmt.Errorf("fault: %w", err)
	}
	return f, f.Validate()
}

// SetFault puts a fault in force for the driver with this state directory.
func SetFault(stateDir, name string, f Fault) error {
	if !faultName.MatchString(name) {
		return fmt.Errorf("fault name is %q, expected lower-case letters, digits and dashes", name)
	}
	if err := f.Validate(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(FaultsDir(stateDir), 0o755); err != nil {
		return err
	}
	return writeFile(filepath.Join(FaultsDir(stateDir), name+".json"), b)
}

// ClearFault removes a fault; one that is not there is no error.
func ClearFault(stateDir, name string) error {
	err := os.Remove(filepath.Join(FaultsDir(stateDir), name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Faults lists the faults in force by name. Files that are no faults are reported in the error and left out.
func Faults(stateDir string) (map[string]Fault, error) {
	es, err := os.ReadDir(FaultsDir(stateDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, errs := map[string]Fault{}, []error(nil)
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(FaultsDir(stateDir), e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		f, perr := ParseFault(b)
		if err := errors.Join(err, perr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name(), err))
			continue
		}
		out[name] = f
	}
	return out, errors.Join(errs...)
}

// intercept answers a call with a fault that is in force, or passes it on.
func (d *Driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	rpc := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	vol, node := ids(req)
	var resp any
	err := d.injected(rpc, vol, node)
	if err == nil {
		resp, err = next(ctx, req)
	}
	if err == nil && rpc == "ControllerUnpublishVolume" {
		d.unpublished(vol)
	}
	if rpc != "Probe" && rpc != "GetCapacity" {
		d.opt.Log.Info(rpc, "volume", vol, "node", node, "code", status.Code(err).String(), "err", err)
	}
	return resp, err
}

func (d *Driver) injected(rpc, vol, node string) error {
	fs, err := Faults(d.opt.StateDir)
	if err != nil {
		d.opt.Log.Error("fault files ignored", "err", err)
	}
	for name, f := range fs {
		if f.RPC != rpc || (f.VolumeID != "" && f.VolumeID != vol) || (f.NodeID != "" && f.NodeID != node) {
			continue
		}
		if f.Count == 1 {
			err = ClearFault(d.opt.StateDir, name)
		} else if f.Count > 1 {
			f.Count--
			err = SetFault(d.opt.StateDir, name, f)
		}
		if err != nil {
			d.opt.Log.Error("fault not counted", "fault", name, "err", err)
		}
		c, _ := f.code()
		return status.Error(c, f.Message)
	}
	return nil
}

func (d *Driver) unpublished(vol string) {
	fs, _ := Faults(d.opt.StateDir)
	for name, f := range fs {
		if f.UntilUnpublished && f.VolumeID == vol {
			if err := ClearFault(d.opt.StateDir, name); err != nil {
				d.opt.Log.Error("fault not ended", "fault", name, "err", err)
			}
		}
	}
}

// ids are the volume and the node a request names.
func ids(req any) (vol, node string) {
	if q, ok := req.(interface{ GetVolumeId() string }); ok {
		vol = q.GetVolumeId()
	} else if q, ok := req.(interface{ GetSourceVolumeId() string }); ok {
		vol = q.GetSourceVolumeId()
	}
	if q, ok := req.(interface{ GetNodeId() string }); ok {
		node = q.GetNodeId()
	}
	return vol, node
}
