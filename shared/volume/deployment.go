package volume

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// DeploymentAvailable tells whether a CSI controller's Deployment runs. It looks at the replicas as well as the condition: a
// Deployment that is scaled to zero calls itself Available.
func DeploymentAvailable(d *appsv1.Deployment) bool {
	if d.Status.AvailableReplicas < 1 || d.DeletionTimestamp != nil {
		return false
	}
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue
	})
}
