package velero

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Modifiers collects the merge patches that Velero applies to objects before it creates them (after its own item actions, before it
// sets namespace and labels; every rule that matches is applied, in order, and conditions see the object's ORIGINAL namespace):
// https://github.com/vmware-tanzu/velero/blob/v1.18.3/internal/resourcemodifiers/resource_modifiers.go.
type Modifiers struct {
	// Namespace that the objects have in the backup.
	Namespace string

	first []rule
	// counts is how many objects of a resource there are in the backup, drops the metadata that leaves all of them, named the other
	// patches and the names that each is for.
	counts map[string]int
	drops  map[string]map[string]any
	named  map[string]map[string][]string
}

// rule is a ResourceModifierRule; Velero refuses fields it does not know.
type rule struct {
	Conditions   conditions   `json:"conditions"`
	MergePatches []mergePatch `json:"mergePatches"`
}

type conditions struct {
	Namespaces        []string `json:"namespaces,omitempty"`
	GroupResource     string   `json:"groupResource"`
	ResourceNameRegex string   `json:"resourceNameRegex,omitempty"`
}

type mergePatch struct {
	PatchData string `json:"patchData"`
}

// ModifiersLimit is the largest ConfigMap that is made of modifiers: the API server takes 1 MiB of values
// (https://kubernetes.io/docs/concepts/configuration/configmap/), and etcd's request limit of 1.5 MiB holds the rest.
const ModifiersLimit = 900 << 10

// All patches every object of a resource, cluster-scoped ones too, but those named but (none when it is empty).
func (m *Modifiers) All(groupResource, but string, patch map[string]any) error {
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	r := m.rule(groupResource, "", string(text))
	if but != "" {
		r.Conditions.ResourceNameRegex = except(but)
	}
	m.first = append(m.first, r)
	return nil
}

// except matches every name but one, which RE2 can only say letter by letter.
func except(name string) string {
	letters := []rune(name)
	parts := []string{regexp.QuoteMeta(name) + ".+"}
	for i, l := range letters {
		head := regexp.QuoteMeta(string(letters[:i]))
		parts = append(parts, head+"(?:[^"+regexp.QuoteMeta(string(l))+"].*)?")
	}
	return "^(?:" + strings.Join(parts, "|") + ")$"
}

// Object patches one object. Every object of the resource has to be told, with an empty patch where nothing is to be changed: a patch
// that all of them share needs no names.
func (m *Modifiers) Object(groupResource, name string, patch map[string]any) error {
	if m.counts == nil {
		m.counts, m.drops, m.named = map[string]int{}, map[string]map[string]any{}, map[string]map[string][]string{}
	}
	m.counts[groupResource]++
	drop, rest := split(patch)
	if len(drop) > 0 {
		if m.drops[groupResource] == nil {
			m.drops[groupResource] = map[string]any{}
		}
		merge(m.drops[groupResource], drop)
	}
	if len(rest) == 0 {
		return nil
	}
	text, err := json.Marshal(rest) // keys are sorted
	if err != nil {
		return err
	}
	if m.named[groupResource] == nil {
		m.named[groupResource] = map[string][]string{}
	}
	m.named[groupResource][string(text)] = append(m.named[groupResource][string(text)], name)
	return nil
}

// ConfigMap is the modifiers as Velero reads them: a ConfigMap with exactly one key. More than ModifiersLimit is an error.
func (m *Modifiers) ConfigMap(namespace, name string) (*unstructured.Unstructured, error) {
	rules := slices.Clone(m.first)
	for _, gr := range slices.Sorted(maps.Keys(m.counts)) {
		if drop := m.drops[gr]; len(drop) > 0 {
			text, err := json.Marshal(drop)
			if err != nil {
				return nil, err
			}
			rules = append(rules, m.rule(gr, "", string(text)))
		}
		for _, text := range slices.Sorted(maps.Keys(m.named[gr])) {
			names := m.named[gr][text]
			match := ""
			if len(names) < m.counts[gr] {
				match = exactly(names)
			}
			rules = append(rules, m.rule(gr, match, text))
		}
	}
	text, err := json.Marshal(map[string]any{"version": "v1", "resourceModifierRules": rules})
	if err != nil {
		return nil, err
	}
	if len(text) > ModifiersLimit {
		return nil, fmt.Errorf("the resource modifiers of %d rules have %d bytes, a ConfigMap takes at most %d: too many objects need a change of their own", len(rules), len(text), ModifiersLimit)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"modifiers.yaml": string(text)}}}
	u.SetNamespace(namespace)
	u.SetName(name)
	return u, nil
}

func (m *Modifiers) rule(gr, match, patch string) rule {
	return rule{Conditions: conditions{Namespaces: []string{m.Namespace}, GroupResource: gr, ResourceNameRegex: match}, MergePatches: []mergePatch{{patch}}}
}

// exactly matches these names and no others.
func exactly(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	slices.Sort(quoted)
	return "^(?:" + strings.Join(quoted, "|") + ")$"
}

// split takes the annotations, labels and finalizers that go out of a patch: dropping them does no object of the same kind any harm,
// so that thousands of objects need one rule instead of a list of their names.
func split(patch map[string]any) (drop, rest map[string]any) {
	md, ok := patch["metadata"].(map[string]any)
	if !ok {
		return nil, patch
	}
	drops, keeps := map[string]any{}, map[string]any{}
	for k, v := range md {
		m, isMap := v.(map[string]any)
		switch {
		case k == "finalizers" && v == nil:
			drops[k] = nil
		case isMap && (k == "annotations" || k == "labels"):
			for key, value := range m {
				to := keeps
				if value == nil {
					to = drops
				}
				inner, ok := to[k].(map[string]any)
				if !ok {
					inner = map[string]any{}
					to[k] = inner
				}
				inner[key] = value
			}
		default:
			keeps[k] = v
		}
	}
	rest = maps.Clone(patch)
	delete(rest, "metadata")
	if len(keeps) > 0 {
		rest["metadata"] = keeps
	}
	if len(drops) > 0 {
		drop = map[string]any{"metadata": drops}
	}
	return drop, rest
}

func merge(into, from map[string]any) {
	for k, v := range from {
		a, ok := into[k].(map[string]any)
		b, isMap := v.(map[string]any)
		if ok && isMap {
			merge(a, b)
			continue
		}
		into[k] = v
	}
}
