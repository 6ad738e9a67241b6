package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// entryLimit bounds one object of the tarball. The API server takes requests of 3 MiB
// (https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/apiserver/pkg/server/config.go, MaxRequestBodyBytes) and
// etcd 1.5 MiB; JSON of an object that is stored as protobuf is larger than that.
const entryLimit = 16 << 20

// item is where an object stands in the tarball: resources/<resource.group>[/<version>[-preferredversion]]/{cluster|namespaces/<ns>}/<name>.json
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/archive/filesystem.go). What is without a version is of the version that
// the API server preferred, and is what a restore reads; the same bytes stand under <version>-preferredversion. The other
// versions are there when Velero's feature EnableAPIGroupVersions was on.
type item struct {
	resource  string
	version   string
	preferred bool
	namespace string
	name      string
}

const preferredSuffix = "-preferredversion"

// parseItem takes an entry's name apart.
func parseItem(path string) (item, error) {
	bad := fmt.Errorf("the entry %q is not named as Velero names its objects", path)
	p := strings.Split(path, "/")
	if len(p) < 4 || p[0] != "resources" {
		return item{}, bad
	}
	it := item{resource: p[1]}
	p = p[2:]
	if p[0] != "cluster" && p[0] != "namespaces" {
		it.version, it.preferred = strings.CutSuffix(p[0], preferredSuffix)
		if it.version == "" {
			return item{}, bad
		}
		p = p[1:]
	}
	switch {
	case len(p) == 2 && p[0] == "cluster":
		it.name = p[1]
	case len(p) == 3 && p[0] == "namespaces" && p[1] != "":
		it.namespace, it.name = p[1], p[2]
	default:
		return item{}, bad
	}
	name, ok := strings.CutSuffix(it.name, ".json")
	if !ok || name == "" || it.resource == "" {
		return item{}, bad
	}
	it.name = name
	return it, nil
}

// at is "namespace/name", or the name of what is cluster-scoped: as Velero's resource list names it.
func (it item) at() string {
	if it.namespace == "" {
		return it.name
	}
	return it.namespace + "/" + it.name
}

// unversioned is the item of the copy that a restore reads.
func (it item) unversioned() item {
	return item{resource: it.resource, namespace: it.namespace, name: it.name}
}

func (it item) String() string { return it.resource + " " + it.at() }

// group of the resource; empty for the core group.
func (it item) group() string {
	_, g, _ := strings.Cut(it.resource, ".")
	return g
}

// visitor is told what is in a tarball. The bytes are overwritten after the call returns.
type visitor interface {
	format(version string)
	object(it item, json []byte)
	// odd is an entry that is not as Velero writes them; the walk goes on.
	odd(problem string)
}

// walkTar reads an uncompressed tarball to its very end. An error means that the tarball is broken there, and that not everything
// was visited.
func walkTar(r io.Reader, v visitor) error {
	end := &tail{r: r}
	tr := tar.NewReader(end)
	buf := bytes.Buffer{}
	entries := 0
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("its tar stream is broken behind entry %d: %w", entries, plainEOF(err))
		}
		entries++
		if h.Typeflag != tar.TypeReg {
			v.odd(fmt.Sprintf("the entry %q is no regular file", h.Name))
			continue
		}
		if h.Size > entryLimit {
			v.odd(fmt.Sprintf("the entry %q has %d bytes: no object of Kubernetes has more than %d", h.Name, h.Size, entryLimit))
			continue
		}
		buf.Reset()
		if _, err := buf.ReadFrom(tr); err != nil {
			return fmt.Errorf("its tar stream is broken in the entry %q: %w", h.Name, plainEOF(err))
		}
		if h.Name == "metadata/version" {
			v.format(strings.TrimSpace(buf.String()))
			continue
		}
		it, err := parseItem(h.Name)
		if err != nil {
			v.odd(err.Error())
			continue
		}
		v.object(it, buf.Bytes())
	}
	return end.finish()
}

// endOfTar are the two blocks of zeros that a tar archive ends with
// (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06). archive/tar also takes the end of the
// stream for the end of the archive.
const endOfTar = 1024

// tail remembers how a stream ended.
type tail struct {
	r    io.Reader
	last [endOfTar]byte
	n    int64
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	if n >= endOfTar {
		copy(t.last[:], p[n-endOfTar:n])
	} else if n > 0 {
		copy(t.last[:], t.last[n:])
		copy(t.last[endOfTar-n:], p[:n])
	}
	return n, err
}

// finish reads what is behind the archive, which must be nothing but zeros.
func (t *tail) finish() error {
	buf := make([]byte, 32<<10)
	garbage := false
	for {
		n, err := t.Read(buf)
		garbage = garbage || len(bytes.Trim(buf[:n], "\x00")) > 0
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	switch {
	case garbage:
		return errors.New("has bytes behind the end of its tar archive")
	case t.n < endOfTar || len(bytes.Trim(t.last[:], "\x00")) > 0:
		return errors.New("its tar archive has no end: it was cut between two entries")
	}
	return nil
}
