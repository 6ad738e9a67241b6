package stack

import _ "embed"

//go:embed objects.yaml
var objects []byte
