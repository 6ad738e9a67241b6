package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// ErrNotSealed tells that the backup has findings that stop a restore, and what is wrong is not made trustworthy by a signature.
var ErrNotSealed = errors.New("the backup does not verify")

// Seal verifies a backup and writes its manifest, signed: the digest and version of every object as they were read just now. It
// does so once the backup is complete; a later change of any object is found by Verify. clusterUID is the identity of the cluster that
// the backup is of; empty takes what the backup says.
//
// A backup with Stop findings is refused (ErrNotSealed). A manifest that is there and says the same is kept, and its signature written
// when a seal before this one was cut off; one that says something else is refused, never overwritten (fs.ErrExist).
func Seal(ctx context.Context, s Sealing, name, clusterUID string, exp Expectation, key Signer) (Verified, error) {
	exp.Key, exp.ManifestRequired = key, false
	if clusterUID != "" && exp.ClusterUID == "" {
		exp.ClusterUID = clusterUID
	}
	objects, err := s.List(ctx, dir(name))
	if err != nil {
		return Verified{Status: signal.Unknown, Integrity: signal.Unknown}, fmt.Errorf("seal %s: %w", name, err)
	}
	here := &verification{name: name, objects: objects}
	_, manifest := here.find(kindManifest)
	switch _, signature := here.find(kindSignature); {
	case manifest && !signature:
		return signAgain(ctx, s, name, exp, key)
	case signature && !manifest:
		return Verified{Summary: Summary{Name: name}, Status: signal.Unknown, Integrity: signal.Unknown},
			fmt.Errorf("seal %s: there is a signature without its manifest: %w", name, fs.ErrExist)
	}
	v, err := verify(ctx, s, name, exp, true)
	if err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", name, err)
	}
	if v.status != signal.True {
		return v.verified(), fmt.Errorf("seal %s: %w: %s", name, ErrNotSealed, v.message())
	}
	m, err := v.manifestOf(clusterUID, key.KeyID())
	if err != nil {
		return v.verified(), err
	}
	if v.seal != nil { // it verified against the manifest that is there
		if m.ClusterUID != "" && v.seal.ClusterUID != m.ClusterUID {
			return v.verified(), fmt.Errorf("seal %s: its manifest says the cluster %q, expected %q: %w", name, v.seal.ClusterUID, m.ClusterUID, fs.ErrExist)
		}
		return v.verified(), nil
	}
	data, err := m.encode()
	if err != nil {
		return v.verified(), err
	}
	if err := write(ctx, s, name, data, key); err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", name, err)
	}
	return v.readBack(key)
}

// manifestOf says what was streamed.
func (v *verification) manifestOf(clusterUID, keyID string) (*Manifest, error) {
	if have := v.summary.ClusterUID; clusterUID == "" {
		clusterUID = have
	} else if have != "" && have != clusterUID {
		return nil, fmt.Errorf("seal %s: the backup is of the cluster %s, expected %s", v.name, have, clusterUID)
	}
	m := &Manifest{APIVersion: APIVersion, Kind: Kind, Backup: v.name, ClusterUID: clusterUID, SealedAt: v.exp.Now.UTC(), KeyID: keyID}
	for _, o := range v.objects {
		k := partOf(v.name, o.Key).kind
		if k.ours() || k == kindOther {
			continue
		}
		m.Objects = append(m.Objects, Sealed{Key: o.Key, Size: o.Size, SHA256: v.digests[o.Key], Version: o.Version})
	}
	return m, m.validate()
}

// write puts the manifest first: what is signed is what is there, whoever of two that seal at the same time wrote it.
func write(ctx context.Context, s Sealing, name string, data []byte, key Signer) error {
	if err := s.Put(ctx, keyOf(name, kindManifest), data); err != nil {
		return err
	}
	return sign(ctx, s, name, data, key)
}

func sign(ctx context.Context, s Sealing, name string, data []byte, key Signer) error {
	sig, err := key.Sign(ctx, data)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return s.Put(ctx, keyOf(name, kindSignature), sig)
}

// signAgain signs a manifest that an earlier seal could not sign any more, after it has verified the backup and held it against it.
func signAgain(ctx context.Context, s Sealing, name string, exp Expectation, key Signer) (Verified, error) {
	exp.Key = nil // there is no signature to verify
	v, err := verify(ctx, s, name, exp, true)
	if err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", name, err)
	}
	if v.status != signal.True {
		return v.verified(), fmt.Errorf("seal %s: %w: %s", name, ErrNotSealed, v.message())
	}
	o, ok := v.find(kindManifest)
	if !ok {
		return v.verified(), fmt.Errorf("seal %s: its manifest went away", name)
	}
	data, err := small(ctx, s, o, manifestLimit)
	if err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", name, err)
	}
	have, err := ParseManifest(data)
	if err != nil {
		return v.verified(), fmt.Errorf("seal %s: its manifest, which has no signature, %w: %w", name, err, fs.ErrExist)
	}
	want, err := v.manifestOf(have.ClusterUID, have.KeyID)
	if err != nil {
		return v.verified(), err
	}
	if have.KeyID != key.KeyID() || have.Backup != name || !slices.Equal(have.Objects, want.Objects) {
		return v.verified(), fmt.Errorf("seal %s: its manifest has no signature and says something else than what is there: %w", name, fs.ErrExist)
	}
	if err := sign(ctx, s, name, data, key); err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", name, err)
	}
	return v.readBack(key)
}

// readBack verifies manifest and signature as they are stored now, against what was streamed a moment ago.
func (v *verification) readBack(key Signer) (Verified, error) {
	objects, err := v.store.List(v.ctx, dir(v.name))
	if err != nil {
		return v.verified(), fmt.Errorf("seal %s: %w", v.name, err)
	}
	w := &verification{verdict: newVerdict(), ctx: v.ctx, store: v.store, name: v.name, objects: objects, exp: v.exp}
	w.exp.ManifestRequired, w.exp.Key = true, key
	w.manifest()
	if w.status != signal.True {
		return v.verified(), fmt.Errorf("seal %s: what was written does not verify: %s", v.name, w.message())
	}
	if Listing(v.name, objects) != Listing(v.name, v.objects) {
		return v.verified(), fmt.Errorf("seal %s: the backup was changed while it was sealed", v.name)
	}
	v.findings = slices.DeleteFunc(v.findings, func(f run.Finding) bool {
		return f.Subject == keyOf(v.name, kindManifest) || f.Subject == keyOf(v.name, kindSignature)
	})
	v.objects, v.seal = objects, w.seal
	for _, o := range objects {
		v.equalsManifest(o, partOf(v.name, o.Key), v.digests[o.Key])
	}
	v.integrityVerdict()
	if v.integrity != signal.True {
		return v.verified(), fmt.Errorf("seal %s: what was written is not what was read: %s", v.name, v.message())
	}
	return v.verified(), nil
}
