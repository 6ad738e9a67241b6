package plan

import (
	"bytes"
	_ "embed"
)

//go:generate go run ./schemagen

//go:embed fallbackplan.schema.json
var schemaJSON []byte

// Schema is the JSON Schema of a plan, written by schemagen from the types and their comments.
func Schema() []byte { return bytes.Clone(schemaJSON) }
