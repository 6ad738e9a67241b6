package rights

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/infra/kubernetes"
)

// Granted are the rights of every function, by the roles of infra/kubernetes that are bound to its group.
func Granted() ([]Right, error) {
	docs, err := kubernetes.Documents()
	if err != nil {
		return nil, err
	}
	return granted(docs)
}

// roleKey is a role; a ClusterRole has no namespace.
type roleKey struct{ namespace, name string }

func granted(docs [][]byte) ([]Right, error) {
	roles := map[roleKey][]rbacv1.PolicyRule{}
	var bindings []rbacv1.RoleBinding
	for _, d := range docs {
		var meta struct{ Kind string }
		if err := yaml.Unmarshal(d, &meta); err != nil {
			return nil, err
		}
		switch meta.Kind {
		case "ClusterRole", "Role": // of the same form
			var r rbacv1.ClusterRole
			if err := yaml.UnmarshalStrict(d, &r); err != nil {
				return nil, err
			}
			roles[roleKey{r.Namespace, r.Name}] = r.Rules
		case "ClusterRoleBinding", "RoleBinding":
			var b rbacv1.RoleBinding
			if err := yaml.UnmarshalStrict(d, &b); err != nil {
				return nil, err
			}
			bindings = append(bindings, b)
		}
	}
	var out []Right
	for _, b := range bindings {
		k := roleKey{b.Namespace, b.RoleRef.Name}
		if b.RoleRef.Kind == "ClusterRole" {
			k.namespace = ""
		}
		rules, ok := roles[k]
		if !ok {
			return nil, fmt.Errorf("binding %s: %s %s is not there", b.Name, b.RoleRef.Kind, b.RoleRef.Name)
		}
		for _, s := range b.Subjects {
			function := kubernetes.FunctionOf([]string{s.Name})
			if s.Kind != rbacv1.GroupKind || !slices.Contains(kubernetes.Functions(), function) {
				return nil, fmt.Errorf("binding %s: subject %s %s is no function's group", b.Name, s.Kind, s.Name)
			}
			for _, rule := range rules {
				list, err := expand(rule, Right{Function: function, Namespace: b.Namespace})
				if err != nil {
					return nil, fmt.Errorf("role %s: %w", b.RoleRef.Name, err)
				}
				out = append(out, list...)
			}
		}
	}
	return Distinct(out), nil
}

// Every is the resource of a right on all resources of all groups.
const Every = "*"

// expand lists the rights of a rule. What stands for others than itself ("*") is refused, for a right is granted one by one; but reading
// whatever there is may be granted as a whole.
func expand(rule rbacv1.PolicyRule, of Right) ([]Right, error) {
	if slices.Equal(rule.APIGroups, []string{Every}) && slices.Equal(rule.Resources, []string{Every}) && len(rule.ResourceNames) == 0 &&
		slices.Equal(rule.Verbs, []string{"list"}) {
		of.Verb, of.Resource = "list", Every
		return []Right{of}, nil
	}
	for _, s := range slices.Concat(rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames, rule.NonResourceURLs) {
		if strings.Contains(s, "*") {
			return nil, fmt.Errorf("%q grants what nobody named", s)
		}
	}
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var out []Right
	for _, of.Verb = range rule.Verbs {
		for _, of.Resource = range rule.NonResourceURLs {
			out = append(out, of)
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				of.Resource = inGroup(resource, group)
				for _, name := range names {
					r := of
					r.Name = name
					out = append(out, r)
				}
			}
		}
	}
	return out, nil
}

// inGroup is "pods/portforward", "statefulsets.apps", "statefulsets.apps/scale".
func inGroup(resource, group string) string {
	if group == "" {
		return resource
	}
	resource, sub, has := strings.Cut(resource, "/")
	resource += "." + group
	if has {
		resource += "/" + sub
	}
	return resource
}
