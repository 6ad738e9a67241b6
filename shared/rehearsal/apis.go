package rehearsal

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

// item is an object that the target serves the kind of.
type item struct {
	object *unstructured.Unstructured
	gvr    schema.GroupVersionResource
}

// version compares Kubernetes versions. Restoring into a lower one is not supported by Velero, and its objects may have fields that the
// older server drops (https://velero.io/docs/v1.18/migration-case/#before-migrating-your-cluster).
func (w *work) version(ctx context.Context) error {
	const subject, means = "Kubernetes version", "objects may have fields and versions that the target does not know"
	v, err := w.Cluster.Version(ctx)
	if err != nil {
		return w.unread(subject, means, err)
	}
	to, err := version.ParseGeneric(v.GitVersion)
	from, ferr := version.ParseGeneric(w.KubernetesVersion)
	switch {
	case err != nil || ferr != nil:
		w.found(run.Warning, subject, means, "the backup's is %q and the target's %q: they cannot be compared", w.KubernetesVersion, v.GitVersion)
	case to.Major() < from.Major() || (to.Major() == from.Major() && to.Minor() < from.Minor()):
		w.found(run.Stop, subject, means, "the backup is of %s and the target is %s, which is lower", w.KubernetesVersion, v.GitVersion)
	case to.Major() > from.Major() || to.Minor() > from.Minor()+1:
		w.found(run.Warning, subject, "APIs of the backup may have been removed", "the backup is of %s and the target is %s, more than one minor above", w.KubernetesVersion, v.GitVersion)
	}
	return nil
}

// apis maps every object to the target's resources, and finds the kinds that it does not serve.
func (w *work) apis(context.Context) error {
	const means = "these objects cannot be created: install what defines the kind first"
	count := map[schema.GroupVersionKind]int{}
	gvrs := map[schema.GroupVersionKind]*schema.GroupVersionResource{}
	for _, o := range w.Objects {
		gvk := o.GroupVersionKind()
		gvr, known := gvrs[gvk]
		if !known {
			m, err := w.Cluster.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			switch {
			case err == nil:
				gvr = &m.Resource
			case !meta.IsNoMatchError(err):
				if err := w.unread("kind "+gvk.GroupKind().String(), "whether its objects can be created is not known", err); err != nil {
					return err
				}
				count[gvk] = -len(w.Objects) // said already
			}
			gvrs[gvk] = gvr
		}
		if gvr == nil {
			count[gvk]++
			continue
		}
		w.items = append(w.items, item{o, *gvr})
	}
	for _, gvk := range slices.SortedFunc(maps.Keys(count), func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) }) {
		if n := count[gvk]; n > 0 {
			problem := fmt.Sprintf("the target does not serve %s; the backup has %d of it", gvk.GroupVersion(), n)
			if m, err := w.Cluster.Mapper.RESTMapping(gvk.GroupKind()); err == nil {
				problem += ", and the target serves " + m.GroupVersionKind.GroupVersion().String()
			}
			w.found(run.Stop, "kind "+gvk.Kind, means, "%s", problem)
		}
	}
	return nil
}

// serves tells whether the target has a kind of an API group's v1. What could not be asked counts as served: reading it says more.
func (w *work) serves(group, kind string) (bool, error) {
	_, err := w.Cluster.Mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind}, "v1")
	switch {
	case err == nil:
		return true, nil
	case meta.IsNoMatchError(err):
		return false, nil
	}
	return true, w.unread("kind "+kind, "whether the target serves it is not known", err)
}

// collisions finds what is in the way: a drill's namespace that exists already, objects that a recover would keep.
func (w *work) collisions(ctx context.Context) error {
	subject := "Namespace " + w.Target
	ns, err := cluster.Get[corev1.Namespace](ctx, w.Cluster, cluster.Namespaces, "", w.Target)
	switch {
	case apierrors.IsNotFound(err):
		w.claimsKnown = true
		if !w.Drill {
			w.found(run.Note, subject, "it is made anew, and everything in it", "does not exist")
		}
		return nil
	case err != nil:
		return w.unread(subject, "what is in the way of the restore is not known", err)
	case ns.DeletionTimestamp != nil:
		w.found(run.Stop, subject, "nothing can be created in it", "is being deleted")
		return nil
	case w.Drill:
		w.found(run.Stop, subject, "the drill would restore into what is somebody else's", "exists already")
		return nil
	}
	w.targetExists = true
	return w.existing(ctx)
}

// existing lists what the target has of the backup's kinds.
func (w *work) existing(ctx context.Context) error {
	listed := map[schema.GroupVersionResource]bool{}
	for _, it := range w.items {
		if listed[it.gvr] || it.object.GetNamespace() != w.Target {
			continue
		}
		listed[it.gvr] = true
		list, err := w.names(ctx, it.gvr)
		if err != nil {
			if err := w.unread(it.object.GetKind()+" objects of namespace "+w.Target, "which of them exist is not known", err); err != nil {
				return err
			}
			continue
		}
		gk := it.object.GroupVersionKind().GroupKind().String()
		w.claimsKnown = w.claimsKnown || gk == "PersistentVolumeClaim"
		for _, name := range list {
			w.have[gk+" "+w.Target+"/"+name] = true
		}
	}
	kept, all := 0, 0
	for _, it := range w.items {
		if it.object.GetNamespace() == w.Target {
			all++
			if w.have[identity(it.object)] {
				kept++
			}
		}
	}
	if kept > 0 {
		w.found(run.Note, "Namespace "+w.Target, "a restore keeps them as they are, also where they differ from the backup, unless the plan says overwrite",
			"has %d of the backup's %d objects", kept, all)
	}
	return nil
}

func (w *work) names(ctx context.Context, gvr schema.GroupVersionResource) ([]string, error) {
	var out []string
	o := metav1.ListOptions{Limit: 500}
	for {
		l, err := w.Cluster.Dynamic.Resource(gvr).Namespace(w.Target).List(ctx, o)
		if err != nil {
			return nil, err
		}
		for i := range l.Items {
			out = append(out, l.Items[i].GetName())
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}
