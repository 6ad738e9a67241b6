package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// write puts the bundle into a new directory beside dir and then in dir's place. The files hold Secrets: nobody but the
// owner may read them. m.Files is filled in.
func write(dir string, m *Manifest, objects []*unstructured.Unstructured) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := replaceable(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	// MkdirTemp makes it 0700.
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	m.Files = make([]File, 0, len(objects))
	names := map[string]bool{ManifestFile: true}
	for _, o := range objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("%s: %w", identity(o), err)
		}
		name := fileName(o)
		if names[name] {
			name = strings.TrimSuffix(name, ".yaml") + "-" + short(identity(o)) + ".yaml"
		}
		names[name] = true
		sum := sha256.Sum256(data)
		m.Files = append(m.Files, File{Path: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))})
		if err := writeFile(filepath.Join(tmp, name), data); err != nil {
			return err
		}
	}
	if err := m.validate(); err != nil {
		return err
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(tmp, ManifestFile), data); err != nil {
		return err
	}
	return replace(tmp, dir)
}

// replaceable tells whether dir may be replaced: it does not exist, is empty, or holds a bundle.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, ManifestFile)); err != nil {
		return fmt.Errorf("%s has files but no %s; expected an empty directory or a bundle to replace", dir, ManifestFile)
	}
	return nil
}

// replace renames tmp to dir. An earlier bundle is moved aside first and comes back when the rename fails; a crash between
// the two renames leaves it beside dir under its ".old" name, until a new bundle is in place.
func replace(tmp, dir string) error {
	if err := syncDir(tmp); err != nil {
		return err
	}
	old := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".old")
	_, err := os.Lstat(dir)
	moved := err == nil
	if moved {
		if err := errors.Join(os.RemoveAll(old), os.Rename(dir, old)); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		if moved {
			err = errors.Join(err, os.Rename(old, dir))
		}
		return err
	}
	return errors.Join(syncDir(filepath.Dir(dir)), os.RemoveAll(old))
}

func writeFile(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// nameLimit leaves room below the 255 bytes of common file systems.
const nameLimit = 180

// fileName is "<rank>-<kind>[.<group> of a custom resource]-<name>.yaml": files sort as the objects are applied.
func fileName(o *unstructured.Unstructured) string {
	gk := o.GroupVersionKind().GroupKind()
	kind := strings.ToLower(gk.Kind)
	if rank(gk) == rankOther {
		kind = strings.ToLower(gk.String())
	}
	name := kind + "-" + o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = kind + "-" + ns + "." + o.GetName()
	}
	safe := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') || r == '-' || r == '.' {
			return r
		}
		return '_' // RBAC names may have colons and capitals
	}, name)
	if len(safe) > nameLimit {
		safe = safe[:nameLimit]
	}
	if safe != name {
		safe += "-" + short(identity(o))
	}
	return fmt.Sprintf("%02d-%s.yaml", rank(gk), safe)
}

// short is eight hex digits that tell names apart.
func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
