package stack

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

const (
	// VeleroNamespace is where Velero's objects are.
	VeleroNamespace = "velero"
	// StorageLocation is the name of the only BackupStorageLocation.
	StorageLocation = "default"

	veleroPlugin = "velero-plugin-for-aws"
	veleroSecret = "cloud-credentials"
)

//go:embed velero.yaml
var veleroYAML []byte

// veleroArgs are the server's. Velero's own periods are for clusters where nobody waits for it.
func veleroArgs(l Layout, r record) []string {
	return []string{"server",
		"--kubeconfig", l.kubeconfig(Velero), "--namespace", VeleroNamespace, "--features", "EnableCSI", "--plugin-dir", l.veleroPlugins(),
		"--metrics-address", local(r.Ports[portVelero]), "--profiler-address", local(r.Ports[portVeleroProfiler]),
		"--item-operation-sync-frequency", "1s", "--store-validation-frequency", "10s", "--backup-sync-period", "10s",
		// Velero's default. Several workers lose item operations to a race: a VolumeSnapshot whose operation is lost is never awaited, and never
		// removed (https://github.com/velero-io/velero/issues/9659).
		"--item-block-worker-count", "1",
		"--client-qps", "1000", "--client-burst", "2000", "--log-format", "json",
	}
}

// veleroEnv points the AWS plugin at the stack's credentials, whatever the caller's environment says.
func veleroEnv(l Layout) []string {
	env := []string{
		"HOME=" + l.in("velero"), "TMPDIR=" + l.veleroTemp(), "AWS_SHARED_CREDENTIALS_FILE=" + l.S3Credentials(),
		"AWS_CONFIG_FILE=" + l.in("velero", "none"), "AWS_EC2_METADATA_DISABLED=true",
		// Velero looks every second, not every five, whether the snapshot of a claim is there, for the first ten seconds
		// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/csi/volume_snapshot.go, WaitUntilVSCHandleIsReady).
		"CSI_SNAPSHOT_EARLY_FREQUENT_POLLING=true",
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"} {
		env = append(env, name+"=")
	}
	return env
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (l Layout) veleroPlugins() string { return l.in("velero", "plugins") }

// veleroTemp takes Velero's temporary files, also the sockets it speaks to its plugins through.
func (l Layout) veleroTemp() string {
	return filepath.Dir(l.socket(filepath.Join("velero", "plugin0123456789")))
}

// prepareVelero makes the server's directories, the one of the plugins with a link to the only one.
func prepareVelero(l Layout) error {
	if err := os.RemoveAll(l.veleroTemp()); err != nil { // what a killed server left
		return err
	}
	for _, dir := range []string{l.veleroPlugins(), l.veleroTemp()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	err := os.Symlink(l.bin(veleroPlugin), filepath.Join(l.veleroPlugins(), veleroPlugin))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// installVelero applies what the server needs: its namespace, the credentials, the place of the backups.
func (s *Stack) installVelero(ctx context.Context) error {
	all, err := decode(veleroYAML)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(s.layout.S3Credentials())
	if err != nil {
		return err
	}
	b := s.Backups()
	meta := func(name string) map[string]any { return map[string]any{"name": name, "namespace": VeleroNamespace} }
	all = append(all, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": meta(veleroSecret), "type": "Opaque",
		"stringData": map[string]any{"cloud": string(secret)},
	}}, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": meta(StorageLocation),
		"spec": map[string]any{
			"provider": "aws", "default": true,
			"objectStorage": map[string]any{"bucket": b.Bucket, "prefix": b.Prefix},
			"config":        map[string]any{"region": b.Region, "s3ForcePathStyle": "true", "s3Url": b.Endpoint},
		},
	}})
	return parallel(ctx, len(all), func(ctx context.Context, i int) error {
		_, err := apply(ctx, s.dyn, all[i])
		return err
	})
}

// forgetLocation deletes what an earlier server found out about the object store. Times in it are whole seconds, too coarse to tell
// whose they are.
func (s *Stack) forgetLocation(ctx context.Context) error {
	_, err := s.locations().Patch(ctx, StorageLocation, types.MergePatchType, []byte(`{"status":null}`), metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		return fmt.Errorf("BackupStorageLocation %s: %w", StorageLocation, err)
	}
	return nil
}

// awaitLocation waits until the Velero that runs now has found its object store.
func (s *Stack) awaitLocation(ctx context.Context) error {
	if err := await(ctx, s.locations(), byName(StorageLocation), available); err != nil {
		return fmt.Errorf("BackupStorageLocation: %w", err)
	}
	return nil
}

func (s *Stack) locations() dynamic.ResourceInterface {
	return s.dyn.Resource(v1("velero.io", "backupstoragelocations")).Namespace(VeleroNamespace)
}

// available tells whether Velero found the object store.
func available(u *unstructured.Unstructured) (bool, string) {
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	if phase == "" {
		return false, "Velero has not looked for it yet"
	}
	message, _, _ := unstructured.NestedString(u.Object, "status", "message")
	return phase == "Available", strings.TrimSuffix("it is "+phase+": "+message, ": ")
}
