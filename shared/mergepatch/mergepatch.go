// Package mergepatch applies JSON merge patches (RFC 7386) to objects that are decoded already.
package mergepatch

// Apply changes m by the patch: null removes a field, an object is applied to the field's own, anything else replaces it.
func Apply(m, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			inner, ok := m[k].(map[string]any)
			if !ok {
				inner = map[string]any{}
				m[k] = inner
			}
			Apply(inner, v)
		default:
			m[k] = v
		}
	}
}
