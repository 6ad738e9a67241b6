// Package mergepatch makes and applies JSON merge patches (RFC 7386) to objects that are decoded already.
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

// Make is the patch that makes one object of the other, where equal tells which values are the same; empty when there is nothing to do.
// Lists are replaced as a whole. Annotations and labels that go are named one by one, so that others stay.
func Make(from, to map[string]any, equal func(a, b any) bool) map[string]any {
	out := map[string]any{}
	for k, was := range from {
		is, there := to[k]
		wasMap, w := was.(map[string]any)
		isMap, i := is.(map[string]any)
		switch {
		case there && equal(was, is):
		case w && (i || !there && (k == "annotations" || k == "labels")):
			if p := Make(wasMap, isMap, equal); len(p) > 0 {
				out[k] = p
			}
		case !there:
			out[k] = nil
		default:
			out[k] = is
		}
	}
	for k, is := range to {
		if _, there := from[k]; !there {
			out[k] = is
		}
	}
	return out
}
