package plan

import (
	"bytes"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Marshal writes a plan as YAML. Parse reads the same plan back from it.
func (p *Plan) Marshal() ([]byte, error) {
	var doc yaml.Node
	if err := doc.Encode(p); err != nil {
		return nil, err
	}
	style(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// style quotes every text that a plain or block scalar might not bring back character by character.
func style(n *yaml.Node) {
	for _, child := range n.Content {
		style(child)
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!merge" {
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle // the text "<<", which the library writes as a merge key
		return
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return
	}
	n.Style = 0
	switch {
	case blockSafe(n.Value):
		n.Style = yaml.LiteralStyle
	case strings.ContainsFunc(n.Value, func(r rune) bool { return r > unicode.MaxASCII || r < ' ' || r == 0x7f }):
		n.Style = yaml.DoubleQuotedStyle
	}
}

// blockSafe tells whether the text has several lines and reads the same as a literal block.
func blockSafe(s string) bool {
	if !strings.Contains(s, "\n") || strings.HasPrefix(s, "\n") || strings.HasPrefix(s, " ") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasSuffix(line, " ") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			return false
		}
	}
	return !strings.HasSuffix(s, "\n\n")
}
