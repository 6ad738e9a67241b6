package stack

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTmp(t *testing.T) {
	dir := t.TempDir() + "/s"
	os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711)
	for range 2 {
		s, err := Up(context.Background(), Options{Dir: dir, Progress: func(e Event) { t.Log(e) }, without: []string{NodeAgent}})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(s.Took())
		for _, c := range s.Status().Components {
			t.Logf("%+v", c)
		}
		b := time.Now()
		if err := s.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Log("stop", time.Since(b))
	}
}
