package backuptest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
)

// WriteLarge writes the tarball of the backup with n more ConfigMaps of about size bytes each, compressed, and its resource list, without
// holding them in memory. The backup's other objects are those of Files.
func (s Spec) WriteLarge(tarball, list io.Writer, n, size int) error {
	s = s.withDefaults()
	o := s.objects()
	zw := gzip.NewWriter(tarball)
	tw := tar.NewWriter(zw)
	AddEntry(tw, "metadata/version", []byte("1.1.0\n"), s.Started)
	for _, e := range o.entries {
		AddEntry(tw, e.path, e.data, s.Started)
	}
	const kind = "v1/ConfigMap"
	names := make([]string, 0, n+len(o.list[kind]))
	body := &bytes.Buffer{}
	for i := range n {
		name := fmt.Sprintf("cm-%06d", i)
		configMap(body, s.Namespace, name, i, size)
		for _, dir := range []string{"", "v1-preferredversion/"} {
			AddEntry(tw, "resources/configmaps/"+dir+"namespaces/"+s.Namespace+"/"+name+".json", body.Bytes(), s.Started)
		}
		names = append(names, s.Namespace+"/"+name)
	}
	all := maps.Clone(o.list)
	all[kind] = append(names, o.list[kind]...)
	lw := gzip.NewWriter(list)
	_, err := lw.Write(encode(all))
	return errors.Join(err, lw.Close(), tw.Close(), zw.Close())
}
