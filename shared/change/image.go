package change

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// image is an object's before-image: everything but managedFields. Secret values are kept, for the rollback needs them; the
// journal's files are 0600 and its bucket is encrypted.
func image(u *unstructured.Unstructured) (json.RawMessage, error) {
	u = u.DeepCopy()
	u.SetManagedFields(nil)
	return json.Marshal(u.Object)
}

// redact takes the values out of a Secret.
func redact(u *unstructured.Unstructured) *unstructured.Unstructured {
	if u.GetKind() != "Secret" {
		return u
	}
	u = u.DeepCopy()
	for _, field := range []string{"data", "stringData"} {
		m, ok, _ := unstructured.NestedMap(u.Object, field)
		if !ok {
			continue
		}
		for k := range m {
			m[k] = "REDACTED"
		}
		u.Object[field] = m
	}
	return u
}

// sameContent compares two images of one object but for what every write changes.
func sameContent(a, b *unstructured.Unstructured) bool {
	strip := func(u *unstructured.Unstructured) map[string]any {
		u = u.DeepCopy()
		u.SetManagedFields(nil)
		u.SetResourceVersion("")
		u.SetGeneration(0)
		return u.Object
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}

// withPrecondition adds the object's UID and resourceVersion to a merge patch, so that the server refuses it when the object
// was replaced or changed since it was read.
func withPrecondition(patch []byte, have *unstructured.Unstructured) ([]byte, error) {
	var m map[string]any
	if err := json.Unmarshal(patch, &m); err != nil {
		return nil, fmt.Errorf("a merge patch is a JSON object: %w", err)
	}
	md, ok := m["metadata"].(map[string]any)
	if !ok {
		md = map[string]any{}
	}
	md["uid"] = string(have.GetUID())
	md["resourceVersion"] = have.GetResourceVersion()
	m["metadata"] = md
	return json.Marshal(m)
}

// existing are the labels of what exists, never nil: the scope tells an unlabelled object from a missing one.
func existing(u *unstructured.Unstructured) map[string]string {
	if u == nil {
		return nil
	}
	l := u.GetLabels()
	if l == nil {
		l = map[string]string{}
	}
	return l
}
