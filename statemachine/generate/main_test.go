package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGenerateWritesOnceAndCheckFindsADiff(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := generate([]string{"-dir", dir, "-check"}, &out); err == nil || !strings.Contains(err.Error(), "run make generate") {
		t.Fatalf("check of nothing: %v", err)
	}
	if err := generate([]string{"-dir", dir}, &out); err != nil || strings.Count(out.String(), "wrote ") != 6 {
		t.Fatalf("%v, %s", err, &out)
	}
	out.Reset()
	if err := generate([]string{"-dir", dir}, &out); err != nil || out.Len() != 0 {
		t.Errorf("written twice: %v, %s", err, &out)
	}
	if err := generate([]string{"-dir", dir, "-check"}, &out); err != nil {
		t.Error(err)
	}
	changed := filepath.Join(dir, "fallback.mmd")
	if err := os.WriteFile(changed, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := generate([]string{"-dir", dir, "-check"}, &out); err == nil || !strings.Contains(err.Error(), changed) || strings.Contains(err.Error(), "asl") {
		t.Errorf("check of a change: %v", err)
	}
	if data, _ := os.ReadFile(changed); string(data) != "changed" {
		t.Error("check wrote")
	}
}

func TestGenerateNamesWhatItCannotWrite(t *testing.T) {
	if err := generate([]string{"-dir", filepath.Join(t.TempDir(), "absent")}, &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
	if err := generate([]string{"-what"}, &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
}
