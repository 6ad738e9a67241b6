package backuptest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Spec is a backup of one workload. Zero fields have defaults; the same Spec gives the same bytes.
type Spec struct {
	Name string
	// Namespace, StatefulSet and Claims are the workload's: claims data-<statefulset>-0 and on, each with a volume and a snapshot.
	Namespace   string
	StatefulSet string
	Claims      int
	// Started and Completed are the backup's times.
	Started, Completed time.Time
	Schedule           string
	// ClusterUID is on the Backup's label; Kubernetes is the source's version.
	ClusterUID string
	Kubernetes string
	Phase      string
	// Included and Excluded namespaces; included is the workload's without any.
	Included, Excluded []string
	// ConfigMaps is how many more objects there are, of Bytes each.
	ConfigMaps, Bytes int
	// Moved: the data of the snapshots is in the bucket, by operations that added DataUploads to the tarball.
	Moved bool
	// More objects, as JSON, by the name of their resource ("widgets.example.com").
	More map[string][]string
	// Versions are objects of versions that the server does not prefer, as JSON, by resource.
	Versions map[string][]string
	// CSILists writes the lists of CSI objects, which Velero did before 1.18.
	CSILists bool
	// Change edits what is written, just before: the objects beside the tarball uncompressed, by the ending of their name
	// ("-volumeinfo.json.gz"), and the tarball's entries by path under "tar:<path>". nil removes an entry.
	Change map[string]func([]byte) []byte
}

// Now is the time of the tests: an hour after the default Spec's backup.
func Now() time.Time { return time.Date(2026, 9, 1, 13, 0, 0, 0, time.UTC) }

// Cluster is the default Spec's cluster.
const Cluster = "11111111-2222-3333-4444-555555555555"

func (s Spec) withDefaults() Spec {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&s.Name, "b1")
	def(&s.Namespace, "shop")
	def(&s.StatefulSet, "db")
	def(&s.ClusterUID, Cluster)
	def(&s.Kubernetes, "v1.36.3")
	def(&s.Phase, "Completed")
	if s.Claims == 0 {
		s.Claims = 2
	}
	if s.Started.IsZero() {
		s.Started = Now().Add(-time.Hour)
	}
	if s.Completed.IsZero() {
		s.Completed = s.Started.Add(30 * time.Second)
	}
	if s.Included == nil {
		s.Included = []string{s.Namespace}
	}
	return s
}

// Key of one of the backup's objects by the ending of its name.
func Key(name, ending string) string {
	if ending == "velero-backup.json" {
		return "backups/" + name + "/" + ending
	}
	return "backups/" + name + "/" + name + ending
}

// Files are the backup's objects by key.
func (s Spec) Files() map[string][]byte {
	s = s.withDefaults()
	out := map[string][]byte{}
	o := s.objects()
	put := func(ending string, v any) {
		data, ok := v.([]byte)
		if !ok {
			data = append(encode(v), '\n')
		}
		if f := s.Change[ending]; f != nil {
			if data = f(data); data == nil {
				return
			}
		}
		if ending != "velero-backup.json" {
			data = Gzip(data)
		}
		out[Key(s.Name, ending)] = data
	}
	put("velero-backup.json", s.backup(o))
	put("-logs.gz", []byte("time=\"2026-09-01T12:00:00Z\" level=info msg=\"Backing up item\"\n"))
	put("-podvolumebackups.json.gz", nil)
	put("-volumesnapshots.json.gz", []any{})
	put("-itemoperations.json.gz", s.operations())
	put("-resource-list.json.gz", o.list)
	put("-results.gz", map[string]any{"errors": map[string]any{}, "warnings": map[string]any{}})
	put("-volumeinfo.json.gz", s.volumeInfos())
	put(".tar.gz", s.tarball(o))
	if s.CSILists {
		put("-csi-volumesnapshots.json.gz", s.snapshots())
		put("-csi-volumesnapshotcontents.json.gz", []any{})
		put("-csi-volumesnapshotclasses.json.gz", []any{map[string]any{"metadata": map[string]any{"name": "csi"}}})
	}
	return out
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // what a test builds can be encoded
		return []byte(err.Error())
	}
	return b
}

// Gzip compresses as Velero does.
func Gzip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // into memory
	_ = w.Close()
	return b.Bytes()
}

func (s Spec) tarball(o objects) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		if f := s.Change["tar:"+name]; f != nil {
			if data = f(data); data == nil {
				return
			}
		}
		AddEntry(w, name, data, s.Started)
	}
	add("metadata/version", []byte("1.1.0\n"))
	for _, e := range o.entries {
		add(e.path, e.data)
	}
	_ = w.Close() // into memory
	return b.Bytes()
}

// AddEntry writes one entry as Velero does.
func AddEntry(w *tar.Writer, name string, data []byte, at time.Time) {
	_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Typeflag: tar.TypeReg, Mode: 0o755, ModTime: at})
	_, _ = w.Write(data)
}

// WriteTarball writes the tarball of a backup with n ConfigMaps of size bytes each to w, compressed, and their resource list to list:
// as much as is wanted, without holding it. The content compresses about as real objects do.
func WriteTarball(w io.Writer, list io.Writer, namespace string, n, size int) error {
	zw, lw := gzip.NewWriter(w), gzip.NewWriter(list)
	tw := tar.NewWriter(zw)
	AddEntry(tw, "metadata/version", []byte("1.1.0\n"), Now())
	fmt.Fprintf(lw, `{"v1/ConfigMap":[`)
	body := &bytes.Buffer{}
	for i := range n {
		name := fmt.Sprintf("cm-%06d", i)
		configMap(body, namespace, name, i, size)
		for _, dir := range []string{"", "v1-preferredversion/"} {
			AddEntry(tw, "resources/configmaps/"+dir+"namespaces/"+namespace+"/"+name+".json", body.Bytes(), Now())
		}
		sep := ","
		if i == n-1 {
			sep = "]}\n"
		}
		fmt.Fprintf(lw, "%q%s", namespace+"/"+name, sep)
	}
	for _, c := range []io.Closer{tw, zw, lw} {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// configMap writes an object of about size bytes whose content looks like settings and generated names.
func configMap(b *bytes.Buffer, namespace, name string, seed, size int) {
	b.Reset()
	fmt.Fprintf(b, `{"apiVersion":"v1","data":{`)
	x := uint64(seed)*0x9E3779B97F4A7C15 + 1
	for i := 0; b.Len() < size-300; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(b, `"setting.%d":"service-%x.%s.svc.cluster.local:%d,timeout=%ds,retries=%d"`, i, x, namespace, x%60000, x%600, x%9)
	}
	fmt.Fprintf(b, `},"kind":"ConfigMap","metadata":{"creationTimestamp":"2026-09-01T11:00:00Z","labels":{"app.kubernetes.io/name":"bench"},"name":%q,"namespace":%q,"resourceVersion":"%d","uid":"%016x-0000"}}`,
		name, namespace, seed+1000, x)
}
