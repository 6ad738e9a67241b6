package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of the lists beside the tarball, uncompressed: a name and a namespace have at most 253 and 63 characters, so that the list
// of a million objects fits.
const (
	resourceListLimit = 512 << 20
	documentLimit     = 64 << 20
	elementsLimit     = 1 << 20
)

// bounded fails when there is more than limit to read.
func bounded(r io.Reader, limit int64) io.Reader {
	return &bound{r: r, left: limit, limit: limit}
}

type bound struct {
	r           io.Reader
	left, limit int64
}

func (b *bound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it has more than %d bytes", b.limit)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

// notJSON is an error of the decoder.
func notJSON(err error) error {
	return fmt.Errorf("is not valid JSON of its kind: %w", plainEOF(err))
}

var errMoreJSON = errors.New("has something behind its JSON")

// onlySpace wants the end of the document.
func onlySpace(d *json.Decoder) error {
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMoreJSON
	}
	return nil
}

// eachElement decodes a JSON array element by element; null is an empty one, as Velero writes it when there is nothing
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/encode/encode.go).
func eachElement[T any](r io.Reader, each func(T)) error {
	d := json.NewDecoder(bounded(r, documentLimit))
	t, err := d.Token()
	if err != nil {
		return notJSON(err)
	}
	if t == nil {
		return onlySpace(d)
	}
	if t != json.Delim('[') {
		return fmt.Errorf("is %v, expected a list", t)
	}
	for n := 0; d.More(); n++ {
		if n == elementsLimit {
			return fmt.Errorf("has more than %d elements", elementsLimit)
		}
		var e T
		if err := d.Decode(&e); err != nil {
			return notJSON(err)
		}
		each(e)
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	return onlySpace(d)
}

// document decodes one JSON document of at most limit bytes.
func document(r io.Reader, limit int64, into any) error {
	d := json.NewDecoder(bounded(r, limit))
	if err := d.Decode(into); err != nil {
		return notJSON(err)
	}
	return onlySpace(d)
}

// resourceList is what Velero says the tarball holds: by "group/version/Kind" the objects as "namespace/name", each with whether
// it was met in the tarball
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/backup/backed_up_items_map.go, ResourceMap).
type resourceList map[string]map[string]bool

// parseResourceList reads <backup>-resource-list.json.gz, uncompressed. What is listed twice is reported.
func parseResourceList(r io.Reader, twice func(kind, name string)) (resourceList, error) {
	d := json.NewDecoder(bounded(r, resourceListLimit))
	t, err := d.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	if t != json.Delim('{') {
		return nil, fmt.Errorf("is %v, expected the objects by kind", t)
	}
	out := resourceList{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		kind, _ := t.(string)
		if err := parseNames(d, kind, out, twice); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, notJSON(err)
	}
	return out, onlySpace(d)
}

func parseNames(d *json.Decoder, kind string, out resourceList, twice func(kind, name string)) error {
	t, err := d.Token()
	if err != nil {
		return notJSON(err)
	}
	if t == nil {
		return nil
	}
	if t != json.Delim('[') {
		return fmt.Errorf("has %v under %q, expected a list of names", t, kind)
	}
	names := out[kind]
	if names == nil {
		names = map[string]bool{}
		out[kind] = names
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return notJSON(err)
		}
		name, ok := t.(string)
		if !ok {
			return fmt.Errorf("has %v under %q, expected a name", t, kind)
		}
		if _, dup := names[name]; dup {
			twice(kind, name)
		}
		names[name] = false
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

func (l resourceList) len() int {
	n := 0
	for _, names := range l {
		n += len(names)
	}
	return n
}
