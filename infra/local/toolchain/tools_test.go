package toolchain

import (
	"context"
	"os"
	"testing"
)

func TestTmpReal(t *testing.T) {
	if os.Getenv("TMPREAL") == "" {
		t.Fatal()
	}
	tools, err := Ensure(context.Background(), Config{Progress: func(e Event) { t.Log(e) }}, Stack()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(tools)
}
