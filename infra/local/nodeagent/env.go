package nodeagent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/shared/cluster"
)

// environment resolves a container's variables from values, Secrets, ConfigMaps and the pod's own name and namespace. What is
// missing and not optional is an error, as it is to a kubelet.
func environment(ctx context.Context, c dynamic.Interface, p *corev1.Pod, con *corev1.Container) (map[string]string, error) {
	src := sources{c: c, namespace: p.Namespace, read: map[string]map[string]string{}}
	env := map[string]string{}
	for _, f := range con.EnvFrom {
		kind, name, optional := "Secret", "", false
		switch {
		case f.SecretRef != nil:
			name, optional = f.SecretRef.Name, f.SecretRef.Optional != nil && *f.SecretRef.Optional
		case f.ConfigMapRef != nil:
			kind, name, optional = "ConfigMap", f.ConfigMapRef.Name, f.ConfigMapRef.Optional != nil && *f.ConfigMapRef.Optional
		default:
			continue
		}
		data, err := src.data(ctx, kind, name)
		if err != nil && (!optional || !apierrors.IsNotFound(err)) {
			return nil, err
		}
		for k, v := range data {
			env[f.Prefix+k] = v
		}
	}
	for _, e := range con.Env {
		v, set, err := src.value(ctx, p, e)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		if set {
			env[e.Name] = v
		}
	}
	return env, nil
}

// sources reads each Secret and ConfigMap once.
type sources struct {
	c         dynamic.Interface
	namespace string
	read      map[string]map[string]string
}

func (s *sources) value(ctx context.Context, p *corev1.Pod, e corev1.EnvVar) (string, bool, error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return e.Value, true, nil
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		return s.key(ctx, "Secret", r.Name, r.Key, r.Optional)
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		return s.key(ctx, "ConfigMap", r.Name, r.Key, r.Optional)
	case from.FieldRef != nil:
		switch from.FieldRef.FieldPath {
		case "metadata.name":
			return p.Name, true, nil
		case "metadata.namespace":
			return p.Namespace, true, nil
		case "metadata.uid":
			return string(p.UID), true, nil
		case "spec.nodeName":
			return p.Spec.NodeName, true, nil
		}
		return "", false, fmt.Errorf("field %q is not known to simulated nodes", from.FieldRef.FieldPath)
	}
	return "", false, fmt.Errorf("its source is not known to simulated nodes")
}

func (s *sources) key(ctx context.Context, kind, name, key string, optional *bool) (string, bool, error) {
	data, err := s.data(ctx, kind, name)
	may := optional != nil && *optional
	if err != nil {
		if may && apierrors.IsNotFound(err) {
			return "", false, nil
		}
		return "", false, err
	}
	v, ok := data[key]
	if !ok && !may {
		return "", false, fmt.Errorf("%s %s/%s has no key %q", kind, s.namespace, name, key)
	}
	return v, ok, nil
}

func (s *sources) data(ctx context.Context, kind, name string) (map[string]string, error) {
	if d, ok := s.read[kind+"/"+name]; ok {
		return d, nil
	}
	out := map[string]string{}
	if kind == "Secret" {
		u, err := s.c.Resource(cluster.Secrets).Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		sec, err := cluster.Decode[corev1.Secret](u)
		if err != nil {
			return nil, err
		}
		for k, v := range sec.Data {
			out[k] = string(v)
		}
	} else {
		u, err := s.c.Resource(cluster.ConfigMaps).Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		cm, err := cluster.Decode[corev1.ConfigMap](u)
		if err != nil {
			return nil, err
		}
		out = cm.Data
	}
	s.read[kind+"/"+name] = out
	return out, nil
}
