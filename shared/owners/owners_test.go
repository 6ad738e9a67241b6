package owners

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
)

func hpa(namespace, name, kind, target string, labels map[string]string) autoscalingv2.HorizontalPodAutoscaler {
	return autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: kind, Name: target}}}
}

func TestOf(t *testing.T) {
	yes := true
	for _, tc := range []struct {
		name string
		meta metav1.ObjectMeta
		hpas []autoscalingv2.HorizontalPodAutoscaler
		want []string
	}{
		{"nobody", metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/instance": "db"}}, nil, nil},
		{"an autoscaler", metav1.ObjectMeta{}, []autoscalingv2.HorizontalPodAutoscaler{hpa("shop", "scale", "StatefulSet", "db", nil)}, []string{"HorizontalPodAutoscaler/scale"}},
		{"autoscalers of others", metav1.ObjectMeta{}, []autoscalingv2.HorizontalPodAutoscaler{
			hpa("shop", "a", "Deployment", "db", nil), hpa("shop", "b", "StatefulSet", "web", nil), hpa("other", "c", "StatefulSet", "db", nil)}, nil},
		{"KEDA stands behind its autoscaler", metav1.ObjectMeta{},
			[]autoscalingv2.HorizontalPodAutoscaler{hpa("shop", "keda-hpa-db", "StatefulSet", "db", map[string]string{labelScaledObject: "db-scaler"})}, []string{"ScaledObject/db-scaler"}},
		{"an operator", metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "PostgresCluster", Name: "main", Controller: &yes}}}, nil, []string{"PostgresCluster/main"}},
		{"an owner that does not control", metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Thing", Name: "x"}}}, nil, nil},
		{"Argo CD by annotation and label", metav1.ObjectMeta{Labels: map[string]string{"argocd.argoproj.io/instance": "shop-prod"},
			Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "shop-prod:apps/StatefulSet:shop/db"}}, nil, []string{"Application/shop-prod"}},
		{"Flux", metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps", "helm.toolkit.fluxcd.io/name": "db"}}, nil,
			[]string{"HelmRelease/db", "Kustomization/apps"}},
		{"Config Sync on and off", metav1.ObjectMeta{Annotations: map[string]string{"configmanagement.gke.io/managed": "enabled"}}, nil, []string{"RootSync/config-sync"}},
		{"Config Sync disabled", metav1.ObjectMeta{Annotations: map[string]string{"configmanagement.gke.io/managed": "disabled"}}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.meta.Namespace, tc.meta.Name = "shop", "db"
			if d := cmp.Diff(tc.want, Of(&appsv1.StatefulSet{ObjectMeta: tc.meta}, tc.hpas)); d != "" {
				t.Error(d)
			}
		})
	}
	if got := Of(nil, nil); got != nil {
		t.Errorf("owners of nothing: %v", got)
	}
}

func TestCheck(t *testing.T) {
	pause := []plan.PauseOwner{{Kind: "Application", Name: "shop"}}
	if err := Check("scale", []string{"Application/shop"}, pause); err != nil {
		t.Error(err)
	}
	for _, owners := range [][]string{{"Application/other"}, {"Kustomization/shop"}, {"Application/shop", "HorizontalPodAutoscaler/x"}} {
		if err := Check("scale", owners, pause); fault.From(err).Code != fault.OwnerNotPaused {
			t.Errorf("%v: %v, want OwnerNotPaused", owners, err)
		}
	}
}
