package controlplane

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// look reads what the tier waits for: the CSI controller's Deployment, the claims, the pods.
func look(ctx context.Context, s *step.Session) (standing, error) {
	var st standing
	f, err := volume.ReadWorkload(ctx, s.Cluster, s.Target(), s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return st, err
	}
	waiting, err := controllerWaits(ctx, s.Cluster, s.Plan.Spec.Volumes.Controller)
	if err != nil {
		return st, err
	}
	claims, err := cluster.List[corev1.PersistentVolumeClaim](ctx, s.Cluster, cluster.PersistentVolumeClaims, f.Namespace, metav1.ListOptions{})
	if err != nil {
		return st, cluster.Fault("list the claims of namespace "+f.Namespace, err)
	}
	waiting = append(waiting, claimsWait(volume.ClaimNames(f.StatefulSet), claims)...)
	waiting = append(waiting, f.Waiting()...)
	if st.verdict, err = scheduling.Read(ctx, s.Cluster, f, s.Plan.Spec.Tiers.FailedSchedulingPersistence.D(), s.Now()); err != nil {
		return st, err
	}
	st.read, st.waiting = true, waiting
	return st, nil
}

func controllerWaits(ctx context.Context, c *cluster.Client, ref *plan.DeploymentRef) ([]string, error) {
	if ref == nil {
		return nil, nil
	}
	at := ref.Namespace + "/" + ref.Name
	d, err := cluster.Get[appsv1.Deployment](ctx, c, cluster.Deployments, ref.Namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		return []string{"Deployment " + at + " does not exist"}, nil
	case err != nil:
		return nil, cluster.Fault("read Deployment "+at, err)
	case volume.DeploymentAvailable(d):
		return nil, nil
	}
	return []string{"Deployment " + at + " has no available replica"}, nil
}

// claimsWait lists the wanted claims that are not bound.
func claimsWait(wanted []string, claims []corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, name := range wanted {
		i := slices.IndexFunc(claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == name })
		switch {
		case i < 0:
			out = append(out, fmt.Sprintf("claim %s does not exist", name))
		case claims[i].Status.Phase != corev1.ClaimBound:
			out = append(out, fmt.Sprintf("claim %s is %s", name, claims[i].Status.Phase))
		}
	}
	return out
}
