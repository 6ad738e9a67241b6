package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// ContentsLimit is the most bytes that the objects of one namespace may have as JSON, with the cluster-scoped ones that go with them.
const ContentsLimit = 256 << 20

// ErrTooLarge tells that the objects have more bytes than are read into memory.
var ErrTooLarge = errors.New("the namespace's objects are larger than they may be")

// ErrOther tells that the backup is not the one that was verified.
var ErrOther = fmt.Errorf("the backup is not the one that was verified: %w", objectstore.ErrChanged)

// clusterScoped are the resources beside the namespace's of which objects may go with it. Of these only what the namespace names is
// kept.
func clusterScoped() []string {
	return []string{"namespaces", "persistentvolumes", "storageclasses.storage.k8s.io", "csidrivers.storage.k8s.io",
		"volumesnapshotclasses.snapshot.storage.k8s.io", "priorityclasses.scheduling.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"}
}

// Read returns what a backup holds of a namespace, and the cluster-scoped objects that it needs: the Namespace, the claims' volumes,
// their StorageClasses, CSIDrivers and VolumeSnapshotClasses, the pods' PriorityClasses, and the definitions of its custom
// resources. It refuses a backup whose listing is another one than was verified (ErrOther), and a namespace of more than
// ContentsLimit (ErrTooLarge). The rest of the tarball is only walked.
func Read(ctx context.Context, s Store, name, listing, namespace string) (*Contents, error) {
	return read(ctx, s, name, listing, namespace, ContentsLimit)
}

func read(ctx context.Context, s Store, name, listing, namespace string, limit int) (*Contents, error) {
	fail := func(err error) (*Contents, error) {
		return nil, fmt.Errorf("read namespace %s of backup %s: %w", namespace, name, err)
	}
	if !ValidName(name) || namespace == "" {
		return fail(errors.New("expected the name of a backup and of a namespace"))
	}
	objects, err := s.List(ctx, dir(name))
	if err != nil {
		return fail(err)
	}
	if have := Listing(name, objects); have != listing {
		return fail(fmt.Errorf("%w: its listing is %s, expected %q", ErrOther, have, listing))
	}
	v := &verification{verdict: newVerdict(), ctx: ctx, store: s, name: name, objects: objects}
	k := &keeper{namespace: namespace, limit: limit}
	v.stream(kindMetadata, v.metadata)
	v.stream(kindVolumeInfo, zipped(v.volumeInfos))
	v.stream(kindContents, zipped(func(_ part, r io.Reader) error {
		a := readAhead(r)
		defer a.Close()
		return errors.Join(walkTar(a, k), k.err)
	}))
	if k.err != nil {
		return fail(k.err)
	}
	if v.status != signal.True || v.doc == nil {
		return fail(errors.New(v.message()))
	}
	c := &Contents{Summary: v.summary, Listing: listing, taken: map[string]time.Time{}}
	if c.ClusterUID == "" {
		c.ClusterUID = k.clusterUID
	}
	for _, i := range v.infos {
		if i.namespace() == namespace {
			c.Volumes = append(c.Volumes, i.volume())
			c.taken[i.PVCName] = i.takenAt()
		}
	}
	slices.SortStableFunc(c.Volumes, func(a, b run.BackupVolume) int { return strings.Compare(a.Claim, b.Claim) })
	c.Objects = k.needed()
	return c, nil
}

// keeper keeps the objects of a namespace, and the cluster-scoped ones that might go with them.
type keeper struct {
	namespace  string
	clusterUID string
	limit      int
	bytes      int
	objects    []kept
	err        error
}

type kept struct {
	item
	object *unstructured.Unstructured
}

func (k *keeper) format(string) {}
func (k *keeper) odd(problem string) {
	if k.err == nil {
		k.err = errors.New(problem)
	}
}

func (k *keeper) object(it item, data []byte) {
	if it.version != "" || k.err != nil {
		return
	}
	wanted := it.namespace == k.namespace
	if it.namespace == "" {
		wanted = slices.Contains(clusterScoped(), it.resource)
		if it.resource == "namespaces" {
			wanted = it.name == k.namespace
			if it.name == metav1.NamespaceSystem {
				k.system(data)
			}
		}
	}
	if !wanted {
		return
	}
	if k.bytes += len(data); k.bytes > k.limit {
		k.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, k.limit)
		k.objects = nil
		return
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		k.err = fmt.Errorf("%s: %w", it, err)
		return
	}
	if it.resource == "persistentvolumes" {
		if ns, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "namespace"); ns != k.namespace {
			k.bytes -= len(data)
			return
		}
	}
	k.objects = append(k.objects, kept{it, o})
}

func (k *keeper) system(data []byte) {
	o := &unstructured.Unstructured{}
	if o.UnmarshalJSON(data) == nil {
		k.clusterUID = string(o.GetUID())
	}
}

// needed drops the cluster-scoped objects that nothing of the namespace names.
func (k *keeper) needed() []*unstructured.Unstructured {
	names := k.named()
	var out []*unstructured.Unstructured
	for _, o := range k.objects {
		if o.namespace != "" || o.resource == "namespaces" || o.resource == "persistentvolumes" || names[o.resource+" "+o.name] {
			out = append(out, o.object)
			continue
		}
		if o.resource == "volumesnapshotclasses.snapshot.storage.k8s.io" {
			driver, _, _ := unstructured.NestedString(o.object.Object, "driver")
			if names["csidrivers.storage.k8s.io "+driver] {
				out = append(out, o.object)
			}
		}
	}
	return out
}

// named are the cluster-scoped objects that the namespace's objects name, as "resource name".
func (k *keeper) named() map[string]bool {
	names := map[string]bool{}
	class := func(o map[string]any, path ...string) {
		if name, ok, _ := unstructured.NestedString(o, path...); ok && name != "" {
			names["storageclasses.storage.k8s.io "+name] = true
		}
	}
	for _, o := range k.objects {
		if o.namespace == "" {
			if o.resource == "persistentvolumes" {
				class(o.object.Object, "spec", "storageClassName")
			}
			continue
		}
		if o.resource == "persistentvolumeclaims" {
			class(o.object.Object, "spec", "storageClassName")
		}
		names["customresourcedefinitions.apiextensions.k8s.io "+o.resource] = true
		for _, path := range [][]string{{"spec", "priorityClassName"}, {"spec", "template", "spec", "priorityClassName"}} {
			if name, ok, _ := unstructured.NestedString(o.object.Object, path...); ok {
				names["priorityclasses.scheduling.k8s.io "+name] = true
			}
		}
		templates, _, _ := unstructured.NestedSlice(o.object.Object, "spec", "volumeClaimTemplates")
		for _, t := range templates {
			if m, ok := t.(map[string]any); ok {
				class(m, "spec", "storageClassName")
			}
		}
	}
	for _, o := range k.objects {
		if o.resource == "storageclasses.storage.k8s.io" && names[o.resource+" "+o.name] {
			driver, _, _ := unstructured.NestedString(o.object.Object, "provisioner")
			names["csidrivers.storage.k8s.io "+driver] = true
		}
	}
	return names
}
