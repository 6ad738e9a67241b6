package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/signal"
)

// APIVersion and Kind of a manifest.
const (
	APIVersion = "fallbackchain.io/v1alpha1"
	Kind       = "BackupManifest"
)

// Bounds of a manifest and of its signature: a DER-encoded one on P-256 has at most 72 bytes.
const (
	manifestLimit  = 1 << 20
	signatureLimit = 1 << 10
	sealedLimit    = 1000
)

// Manifest is fallback-manifest.json: what a backup was when it was sealed.
type Manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Backup     string `json:"backup"`
	// ClusterUID is the kube-system UID of the cluster that the backup is of; empty when it was not known.
	ClusterUID string    `json:"clusterUID,omitempty"`
	SealedAt   time.Time `json:"sealedAt"`
	// KeyID names the key that signed.
	KeyID   string   `json:"keyID"`
	Objects []Sealed `json:"objects"`
}

// Sealed is one object of the backup.
type Sealed struct {
	// Key is relative to the location.
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// SHA256 in lower-case hex.
	SHA256 string `json:"sha256"`
	// Version is S3's; empty where the bucket keeps none.
	Version string `json:"version,omitempty"`
}

// ParseManifest reads a manifest strictly. Nothing in it is to be believed before its signature was verified.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > manifestLimit {
		return nil, fmt.Errorf("has more than %d bytes", manifestLimit)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return nil, notJSON(err)
	}
	if err := onlySpace(d); err != nil {
		return nil, err
	}
	return &m, m.validate()
}

func (m *Manifest) validate() error {
	if m.APIVersion != APIVersion || m.Kind != Kind {
		return fmt.Errorf("is %q %q, expected %s %s", m.APIVersion, m.Kind, APIVersion, Kind)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !ValidName(m.Backup) {
		bad("backup is %q, expected a name", m.Backup)
	}
	if m.SealedAt.IsZero() {
		bad("sealedAt is missing")
	}
	if len(m.Objects) == 0 || len(m.Objects) > sealedLimit {
		bad("names %d objects, expected 1 to %d", len(m.Objects), sealedLimit)
	}
	seen := map[string]bool{}
	for i, o := range m.Objects {
		if !strings.HasPrefix(o.Key, dir(m.Backup)) || partOf(m.Backup, o.Key).kind.ours() {
			bad("objects[%d].key is %q, expected an object of Velero's below %s", i, o.Key, dir(m.Backup))
		}
		if seen[o.Key] {
			bad("objects[%d].key %q is given twice", i, o.Key)
		}
		seen[o.Key] = true
		if b, err := hex.DecodeString(o.SHA256); err != nil || len(b) != 32 || strings.ToLower(o.SHA256) != o.SHA256 {
			bad("objects[%d].sha256 is %q, expected 64 lower-case hex digits", i, o.SHA256)
		}
		if o.Size < 0 {
			bad("objects[%d].size is %d", i, o.Size)
		}
	}
	return errors.Join(errs...)
}

// has tells whether the manifest names an object; a missing manifest names none.
func (m *Manifest) has(key string) bool {
	_, ok := m.object(key)
	return ok
}

func (m *Manifest) object(key string) (Sealed, bool) {
	if m != nil {
		for _, o := range m.Objects {
			if o.Key == key {
				return o, true
			}
		}
	}
	return Sealed{}, false
}

// encode gives the same bytes for the same manifest.
func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// small reads a whole object that must be small.
func small(ctx context.Context, s Store, o Object, limit int64) ([]byte, error) {
	if o.Size > limit {
		return nil, fmt.Errorf("%w: it has %d, expected at most %d", objectstore.ErrLength, o.Size, limit)
	}
	b, err := openBody(ctx, s, o, false)
	if err != nil {
		return nil, err
	}
	data, _ := io.ReadAll(b) // its error is the body's
	if _, err := b.finish(); err != nil {
		return nil, err
	}
	return data, nil
}

// manifest reads the manifest and its signature; v.seal is set when the signature is the key's.
func (v *verification) manifest() {
	mp, sp := keyOf(v.name, kindManifest), keyOf(v.name, kindSignature)
	means := partOf(v.name, mp).means
	o, ok := v.find(kindManifest)
	if !ok {
		const what = "without one, what is read as well-formed is taken for what Velero wrote"
		if v.exp.ManifestRequired {
			v.wrong(ReasonManifestMissing, mp, means, "is missing, and the plan requires it")
		} else {
			v.warn(mp, means+": "+what, "there is no manifest of this backup")
		}
		return
	}
	if v.exp.Key == nil {
		if v.exp.ManifestRequired {
			v.stop(signal.Unknown, ReasonSignature, sp, means, "there is no key to verify it with, and the plan requires a manifest")
		} else {
			v.warn(sp, means, "there is no key to verify it with: the manifest is not believed")
		}
		return
	}
	data, err := small(v.ctx, v.store, o, manifestLimit)
	if err != nil {
		v.unread(mp, means, err)
		return
	}
	so, ok := v.find(kindSignature)
	if !ok {
		v.integrity = signal.False
		v.wrong(ReasonSignature, sp, partOf(v.name, sp).means, "is missing")
		return
	}
	sig, err := small(v.ctx, v.store, so, signatureLimit)
	if err != nil {
		v.unread(sp, partOf(v.name, sp).means, err)
		return
	}
	switch err := v.exp.Key.Verify(v.ctx, data, sig); {
	case errors.Is(err, ErrSignature):
		v.integrity = signal.False
		v.wrong(ReasonSignature, sp, partOf(v.name, sp).means, "is not the signature of %s by the key %s", mp, v.exp.Key.KeyID())
		return
	case err != nil:
		v.stop(signal.Unknown, ReasonSignature, sp, partOf(v.name, sp).means, "cannot be verified with the key %s: %v", v.exp.Key.KeyID(), err)
		return
	}
	m, err := ParseManifest(data)
	if err == nil && m.Backup != v.name {
		err = fmt.Errorf("is of the backup %q", m.Backup)
	}
	if err != nil {
		v.integrity = signal.False
		v.wrong(ReasonManifestBroken, mp, means, "%v", err)
		return
	}
	v.seal = m
}

// equalsManifest compares an object that was read to its end with the manifest.
func (v *verification) equalsManifest(o Object, p part, digest string) {
	s, ok := v.seal.object(o.Key)
	if !ok {
		return // what is not in it is said at the end
	}
	switch {
	case s.SHA256 != digest && s.Size != o.Size:
		v.integrity = signal.False
		v.wrong(ReasonDigest, o.Key, p.means, "has %d bytes, the signed manifest says %d with another digest", o.Size, s.Size)
	case s.SHA256 != digest:
		v.integrity = signal.False
		v.wrong(ReasonDigest, o.Key, p.means, "was changed: its digest is %s, the signed manifest says %s", short(digest), short(s.SHA256))
	case s.Version != o.Version && s.Version != "":
		v.note(o.Key, "it was copied or written again: nothing is lost", "is the version %q with the same bytes as the version %q that was sealed", o.Version, s.Version)
	}
}

func short(digest string) string { return digest[:min(len(digest), 12)] }
