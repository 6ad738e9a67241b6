package nodeagent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

func secretKey(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional}}
}

func TestEnvironment(t *testing.T) {
	c := fake.NewSimpleDynamicClient(clientscheme.Scheme,
		&corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "shop"},
			Data: map[string][]byte{"password": []byte("secret"), "user": []byte("u")}},
		&corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "m", Namespace: "shop"},
			Data: map[string]string{"db": "shop"}})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-0", Namespace: "shop"}}
	mapRef := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	yes := true
	for name, tc := range map[string]struct {
		con  corev1.Container
		want map[string]string
		err  string
	}{
		"all sources": {con: corev1.Container{
			EnvFrom: []corev1.EnvFromSource{{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: mapRef("m")}},
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: mapRef("absent"), Optional: &yes}}},
			Env: []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "P", ValueFrom: secretKey("s", "password", false)},
				{Name: "N", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "LEFT_OUT", ValueFrom: secretKey("absent", "x", true)}, {Name: "LEFT_OUT_TOO", ValueFrom: secretKey("s", "x", true)},
				{Name: "D", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: mapRef("m"), Key: "db"}}}},
		}, want: map[string]string{"CM_db": "shop", "A": "a", "P": "secret", "N": "pg-0", "D": "shop"}},
		"missing secret": {con: corev1.Container{Env: []corev1.EnvVar{{Name: "P", ValueFrom: secretKey("absent", "x", false)}}}, err: "variable P"},
		"missing key":    {con: corev1.Container{Env: []corev1.EnvVar{{Name: "P", ValueFrom: secretKey("s", "x", false)}}}, err: `Secret shop/s has no key "x"`},
		"unknown field": {con: corev1.Container{Env: []corev1.EnvVar{{Name: "P", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}}}}, err: "status.hostIP"},
	} {
		got, err := environment(t.Context(), c, pod, &tc.con)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want %q", name, err, tc.err)
			}
			continue
		}
		if d := cmp.Diff(tc.want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}
