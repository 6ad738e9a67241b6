package undo

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
)

// fieldChange is one field that differs between two images. Lists are fields as a whole.
type fieldChange struct {
	path []string
	// was and is are nil when the field was not set, or is not.
	was, is any
}

// changes lists the fields in which two images of one object differ, but for status and what the server sets, sorted by path.
func changes(before, after map[string]any) []fieldChange {
	return diff(nil, before, after)
}

func diff(at []string, before, after map[string]any) []fieldChange {
	keys := slices.Collect(maps.Keys(before))
	for k := range after {
		if _, ok := before[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var out []fieldChange
	for _, k := range keys {
		path := append(slices.Clone(at), k)
		if skipped(path) {
			continue
		}
		c := fieldChange{path: path, was: before[k], is: after[k]}
		wasMap, w := c.was.(map[string]any)
		isMap, i := c.is.(map[string]any)
		// A map on one side only is compared key by key too, so that keys which others add to it stay theirs.
		if (w || c.was == nil) && (i || c.is == nil) && (len(wasMap) > 0 || len(isMap) > 0) {
			out = append(out, diff(path, wasMap, isMap)...)
			continue
		}
		if !same(c.was, c.is) {
			out = append(out, c)
		}
	}
	return out
}

// same compares two values strictly: an empty map that is there is not one that is missing ({automated: {}} of an Argo CD
// Application switches something on).
func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// equal compares with what the server made of a value; what is not set equals an empty list or map, for the server drops those.
func equal(a, b any) bool {
	if empty(a) && empty(b) {
		return true
	}
	return equality.Semantic.DeepEqual(a, b)
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
