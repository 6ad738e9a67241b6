package rights

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Right is what a statement grants: an action on what its resource matches.
type Right struct{ Function, Action, Resource string }

func (r Right) String() string { return r.Function + " " + r.Action + " " + r.Resource }

// ParseRight reads String's form.
func ParseRight(line string) (Right, error) {
	parts := strings.Fields(line)
	if len(parts) != 3 {
		return Right{}, fmt.Errorf("%q: expected a function, an action and a resource", line)
	}
	return Right{parts[0], parts[1], parts[2]}, nil
}

// Short is a function's name in the code: assess of AssessFunction.
func (f Function) Short() string { return strings.ToLower(strings.TrimSuffix(f.Logical, "Function")) }

// Granted are the rights of the functions, sorted.
func Granted(fs []Function) []Right {
	seen := map[Right]bool{}
	for _, f := range fs {
		for _, st := range f.Statements {
			for _, a := range st.Actions {
				for _, r := range st.Resources {
					seen[Right{f.Short(), a, r}] = true
				}
			}
		}
	}
	return sorted(seen)
}

func sorted(set map[Right]bool) []Right {
	out := make([]Right, 0, len(set))
	for r := range set {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Right) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Allowing are the rights of a function that each allow a call alone; none: IAM would refuse it.
func (f Function) Allowing(c Call) []Right {
	seen := map[Right]bool{}
	for _, st := range f.Statements {
		if !c.meets(st.Condition) {
			continue
		}
		for _, a := range st.Actions {
			for _, r := range st.Resources {
				if matches(a, c.Action) && matches(r, c.Resource) {
					seen[Right{f.Short(), a, r}] = true
				}
			}
		}
	}
	return sorted(seen)
}

// matches compares as IAM does: * is any text, ? any character
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html).
func matches(pattern, text string) bool {
	form := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
	ok, err := regexp.MatchString(`(?s)^`+form+`$`, text)
	return err == nil && ok
}

// meets evaluates the conditions that a call's own content decides. One on anything else, such as kms:ViaService, is not met: the
// calls seen here are the functions' own.
func (c Call) meets(condition map[string]any) bool {
	for operator, of := range condition {
		keys, _ := of.(map[string]any)
		for key, want := range keys {
			value, known := c.value(key)
			ok := slices.ContainsFunc(texts(want), func(w string) bool {
				switch operator {
				case "Null":
					return (value == "") == (w == "true")
				case "StringEquals":
					return value == w
				case "StringLike":
					return matches(w, value)
				}
				return false
			})
			if !known || !ok {
				return false
			}
		}
	}
	return true
}

// value is that of a condition key.
func (c Call) value(key string) (string, bool) {
	switch key {
	case "s3:prefix":
		return c.Prefix, true
	case "s3:if-none-match":
		if c.NoOverwrite {
			return "*", true
		}
		return "", true
	case "kms:SigningAlgorithm":
		return c.Algorithm, true
	}
	return "", false
}

// Used are the rights by which the calls of each function are allowed; where two allow a call, the first. refused are the calls that
// none allows.
func Used(fs []Function, calls map[string][]Call) (used []Right, refused []string) {
	seen := map[Right]bool{}
	for _, f := range fs {
		for _, c := range calls[f.Short()] {
			by := f.Allowing(c)
			if len(by) == 0 {
				refused = append(refused, f.Short()+" "+c.String())
				continue
			}
			if !slices.ContainsFunc(by, func(r Right) bool { return seen[r] }) {
				seen[by[0]] = true
			}
		}
	}
	return sorted(seen), refused
}
