package rights

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// Reason says why rights are granted that no recorded call needed.
type Reason struct {
	Reason string `json:"reason"`
	// Rights are as Right.String writes them.
	Rights []string `json:"rights"`
}

// Reasons reads reasons.yaml: each right has one reason, each reason a sentence.
func Reasons(data []byte) (map[Right]string, error) {
	var list []Reason
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, err
	}
	out := map[Right]string{}
	for _, e := range list {
		if strings.TrimSpace(e.Reason) == "" || len(e.Rights) == 0 {
			return nil, fmt.Errorf("reason %q for %v: expected a sentence and the rights that it is for", e.Reason, e.Rights)
		}
		for _, line := range e.Rights {
			r, err := Parse(line)
			if err != nil {
				return nil, err
			}
			if have, twice := out[r]; twice {
				return nil, fmt.Errorf("right %q has two reasons: %q and %q", r, have, e.Reason)
			}
			out[r] = e.Reason
		}
	}
	return out, nil
}
