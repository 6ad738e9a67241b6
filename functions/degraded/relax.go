package degraded

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"fallbackchain.io/fallback/shared/plan"
)

// Relax gives up what the plan allows to give up, in a pod's spec, and says what. The input is not changed. It works on the
// spec as it was read, not on a struct, so that fields of a newer server stay.
func Relax(podSpec map[string]any, r plan.Relax) (out map[string]any, given []string, err error) {
	out = runtime.DeepCopyJSON(podSpec)
	drop := func(allowed bool, field, what string) {
		if v, ok := out[field]; allowed && ok && v != nil {
			delete(out, field)
			given = append(given, what)
		}
	}
	drop(r.NodeSelector, "nodeSelector", "node selector")
	drop(r.Affinity, "affinity", "affinity and anti-affinity")
	drop(r.TopologySpread, "topologySpreadConstraints", "topology spread")
	if r.TolerateAll {
		every := []any{map[string]any{"operator": "Exists"}}
		if !equality.Semantic.DeepEqual(out["tolerations"], every) {
			out["tolerations"] = every
			given = append(given, "respect for taints")
		}
	}
	for name, value := range map[string]string{"cpu": r.CPU, "memory": r.Memory} {
		if value == "" {
			continue
		}
		q, err := resource.ParseQuantity(value)
		if err != nil {
			return nil, nil, fmt.Errorf("spec.tiers.degradedStatefulSet.relax.%s: %q is not a quantity", name, value)
		}
		changed := false
		for _, list := range []string{"containers", "initContainers"} {
			containers, _ := out[list].([]any)
			for _, c := range containers {
				if m, ok := c.(map[string]any); ok && request(m, name, q) {
					changed = true
				}
			}
		}
		if changed {
			given = append(given, fmt.Sprintf("%s requests (now %s)", name, value))
		}
	}
	return out, given, nil
}

// request sets a container's request, and raises a limit below it: a limit under the request is refused by the API server.
func request(container map[string]any, name string, q resource.Quantity) bool {
	res, ok := container["resources"].(map[string]any)
	if !ok {
		res = map[string]any{}
		container["resources"] = res
	}
	requests, ok := res["requests"].(map[string]any)
	if !ok {
		requests = map[string]any{}
		res["requests"] = requests
	}
	changed := false
	if have, err := resource.ParseQuantity(fmt.Sprint(requests[name])); err != nil || have.Cmp(q) != 0 {
		requests[name] = q.String()
		changed = true
	}
	limits, _ := res["limits"].(map[string]any)
	if v, ok := limits[name]; ok {
		if have, err := resource.ParseQuantity(fmt.Sprint(v)); err != nil || have.Cmp(q) < 0 {
			limits[name] = q.String()
			changed = true
		}
	}
	return changed
}
