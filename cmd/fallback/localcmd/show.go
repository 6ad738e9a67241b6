package localcmd

import (
	"io"

	"fallbackchain.io/fallback/infra/local/stack"
)

// Progress shows a start's progress as "fallback local up" does; done ends the last line.
func Progress(out io.Writer) (event func(stack.Event), done func()) {
	p := newPrinter(out)
	return p.event, p.close
}
