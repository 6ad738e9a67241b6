package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/signal"
)

// Sizes of the benchmark's tarball. `make bench` asks for 1 GiB of 50,000 objects (BENCH_BACKUP_MIB=1024 BENCH_BACKUP_OBJECTS=50000).
func benchSize(tb testing.TB) (mib, objects int) {
	tb.Helper()
	number := func(name string, def int) int {
		s := os.Getenv(name)
		if s == "" {
			return def
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			tb.Fatalf("%s=%q: expected a number", name, s)
		}
		return n
	}
	return number("BENCH_BACKUP_MIB", 32), number("BENCH_BACKUP_OBJECTS", 1600)
}

// fileStore has the tarball and the resource list in files, the rest in memory.
type fileStore struct {
	*backuptest.Store
	files map[string]string
}

func (s fileStore) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	out, err := s.Store.List(ctx, prefix)
	for i, o := range out {
		if path, ok := s.files[o.Key]; ok {
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			out[i].Size = info.Size()
		}
	}
	return out, err
}

func (s fileStore) Open(ctx context.Context, o backup.Object) (io.ReadCloser, error) {
	if path, ok := s.files[o.Key]; ok {
		return os.Open(path)
	}
	return s.Store.Open(ctx, o)
}

// bigBackup writes a backup whose tarball has about mib MiB uncompressed: each object stands in it twice.
func bigBackup(tb testing.TB, mib, objects int) (s fileStore, compressed, uncompressed int64) {
	tb.Helper()
	dir := tb.TempDir()
	s = fileStore{backuptest.NewStore(backuptest.Spec{}), map[string]string{
		backuptest.Key("b1", ".tar.gz"):                filepath.Join(dir, "tar.gz"),
		backuptest.Key("b1", "-resource-list.json.gz"): filepath.Join(dir, "list.gz"),
	}}
	var files []*os.File
	for _, ending := range []string{".tar.gz", "-resource-list.json.gz"} {
		f, err := os.Create(s.files[backuptest.Key("b1", ending)])
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, f)
	}
	if err := backuptest.WriteTarball(files[0], files[1], "shop", objects, mib<<20/objects/2-1024); err != nil {
		tb.Fatal(err)
	}
	compressed, err := files[0].Seek(0, io.SeekCurrent)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := files[0].Seek(0, io.SeekStart); err != nil {
		tb.Fatal(err)
	}
	zr, err := gzip.NewReader(files[0])
	if err != nil {
		tb.Fatal(err)
	}
	if uncompressed, err = io.Copy(io.Discard, zr); err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return s, compressed, uncompressed
}

// peak watches the heap in use until the function that it returns is called, which tells the most there was above the start.
func peak() func() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start, most := m.HeapAlloc, atomic.Uint64{}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(5 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapAlloc))
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return most.Load() - min(start, most.Load())
	}
}

// BenchmarkVerify verifies a whole backup from files: MB/s of uncompressed tarball, and the most heap above the start.
func BenchmarkVerify(b *testing.B) {
	mib, objects := benchSize(b)
	s, compressed, uncompressed := bigBackup(b, mib, objects)
	exp := expectation()
	exp.StatefulSet = ""
	key := signer(b)
	exp.Key = key
	b.SetBytes(uncompressed)
	most := uint64(0)
	for b.Loop() {
		stop := peak()
		v, err := backup.Verify(b.Context(), s, "b1", exp)
		most = max(most, stop())
		if err != nil || v.Status != signal.True || v.Objects != objects {
			b.Fatalf("%+v %v", v, err)
		}
	}
	b.ReportMetric(float64(most)/(1<<20), "MiB-peak-heap")
	b.ReportMetric(float64(objects), "objects")
	b.ReportMetric(float64(compressed)/(1<<20), "MiB-compressed")
}

// BenchmarkDecompress is the floor: nothing but the decompression of the same file.
func BenchmarkDecompress(b *testing.B) {
	mib, objects := benchSize(b)
	s, _, uncompressed := bigBackup(b, mib, objects)
	b.SetBytes(uncompressed)
	for b.Loop() {
		f, err := os.Open(s.files[backuptest.Key("b1", ".tar.gz")])
		if err != nil {
			b.Fatal(err)
		}
		zr, err := gzip.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, zr); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

// TestMemoryIsFlat holds the memory of a verification against the tarball's: ten times the bytes in the same number of objects take no
// more.
func TestMemoryIsFlat(t *testing.T) {
	const objects = 400
	exp := expectation()
	exp.StatefulSet = ""
	for _, mib := range []int{8, 80} {
		s, _, uncompressed := bigBackup(t, mib, objects)
		stop := peak()
		v, err := backup.Verify(t.Context(), s, "b1", exp)
		if err != nil || v.Status != signal.True || v.Objects != objects {
			t.Fatalf("%+v %v", v, err)
		}
		most := stop()
		t.Logf("%d MiB uncompressed: %d KiB of heap", uncompressed>>20, most>>10)
		if most > 16<<20 {
			t.Errorf("%d bytes of heap for a tarball of %d", most, uncompressed)
		}
	}
}

// TestGeneratedTarball guards the benchmark's own generator: the same bytes each time, and valid objects.
func TestGeneratedTarball(t *testing.T) {
	var a, b, la, lb bytes.Buffer
	for _, w := range []struct{ tar, list *bytes.Buffer }{{&a, &la}, {&b, &lb}} {
		if err := backuptest.WriteTarball(w.tar, w.list, "shop", 20, 3000); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) || !bytes.Equal(la.Bytes(), lb.Bytes()) {
		t.Fatal("differs from one time to the next")
	}
	zr, err := gzip.NewReader(&la)
	if err != nil {
		t.Fatal(err)
	}
	list, err := io.ReadAll(zr)
	if err != nil || strings.Count(string(list), "shop/cm-") != 20 {
		t.Fatalf("%s %v", list, err)
	}
}
