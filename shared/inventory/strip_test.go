package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestStrip holds each object of testdata/strip, stripped, against its golden file.
func TestStrip(t *testing.T) {
	paths, err := filepath.Glob("testdata/strip/*.in.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(p), func(t *testing.T) {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			o, err := decode(data)
			if err != nil {
				t.Fatal(err)
			}
			Strip(o)
			got, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.Replace(p, ".in.", ".golden.", 1), string(got))
			again := o.DeepCopy()
			if Strip(again); !equal(o, again) {
				t.Error("stripping twice changes more than stripping once")
			}
		})
	}
}

func equal(a, b *unstructured.Unstructured) bool {
	x, errA := yaml.Marshal(a.Object)
	y, errB := yaml.Marshal(b.Object)
	return errA == nil && errB == nil && string(x) == string(y)
}
