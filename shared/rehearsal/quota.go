package rehearsal

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

var resourceQuotas = schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}

// classQuota is between a class and the resource in the name of a class's quota
// (https://kubernetes.io/docs/concepts/policy/resource-quotas/#storage-resource-quota).
const classQuota = ".storageclass.storage.k8s.io/"

// quotas holds all claims together against the storage quotas of the target: one by one, as the API server's dry run sees them, they
// may fit. A namespace that is made anew has the quotas that come back with it.
func (w *work) quotas(ctx context.Context) error {
	var missing []corev1.PersistentVolumeClaim
	for _, c := range w.claims() {
		if !w.have["PersistentVolumeClaim "+w.Target+"/"+c.Name] {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, q := range w.backedUp() {
		w.quota(q, missing)
	}
	if !w.targetExists {
		return nil
	}
	live, err := cluster.List[corev1.ResourceQuota](ctx, w.Cluster, resourceQuotas, w.Target, metav1.ListOptions{})
	if err != nil {
		return w.unread("ResourceQuotas of namespace "+w.Target, "whether all claims together fit is not known", err)
	}
	for _, q := range live {
		w.quota(q, missing)
	}
	return nil
}

// backedUp are the quotas that would come back.
func (w *work) backedUp() []corev1.ResourceQuota {
	var out []corev1.ResourceQuota
	for _, it := range w.items {
		if it.object.GetKind() != "ResourceQuota" || w.have[identity(it.object)] {
			continue
		}
		if q, err := cluster.Decode[corev1.ResourceQuota](it.object); err == nil {
			q.Status = corev1.ResourceQuotaStatus{}
			out = append(out, *q)
		}
	}
	return out
}

func (w *work) quota(q corev1.ResourceQuota, claims []corev1.PersistentVolumeClaim) {
	names := make([]string, 0, len(q.Spec.Hard))
	for n := range q.Spec.Hard {
		names = append(names, string(n))
	}
	slices.Sort(names)
	for _, n := range names {
		ask, of := resource.Quantity{}, 0
		class, what, ofClass := strings.Cut(n, classQuota)
		if !ofClass {
			class, what = "", n
		}
		for _, c := range claims {
			if name, _ := className(&c); ofClass && name != class {
				continue
			}
			of++
			switch what {
			case "requests.storage":
				ask.Add(c.Spec.Resources.Requests[corev1.ResourceStorage])
			case "persistentvolumeclaims":
				ask.Add(*resource.NewQuantity(1, resource.DecimalSI))
			}
		}
		hard, used := q.Spec.Hard[corev1.ResourceName(n)], q.Status.Used[corev1.ResourceName(n)]
		total := used.DeepCopy()
		total.Add(ask)
		if ask.Sign() > 0 && total.Cmp(hard) > 0 {
			w.found(run.Stop, "ResourceQuota "+q.Name, "the last of the claims are refused", "allows %s of %s; %s are used, and %d claims want %s more",
				hard.String(), n, used.String(), of, ask.String())
		}
	}
}

func className(c *corev1.PersistentVolumeClaim) (string, bool) {
	if c.Spec.StorageClassName == nil {
		return "", false
	}
	return *c.Spec.StorageClassName, true
}
