package kwok

import _ "embed"

//go:embed stages.yaml
var stages []byte

// Stages are the transitions of nodes and pods, as YAML documents.
func Stages() []byte { return stages }
