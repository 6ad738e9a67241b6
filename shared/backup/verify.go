package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// Verify streams every object of a backup once and says everything that is wrong with it: objects that are missing or not whole,
// parts that contradict one another, what did not end well, and what does not fit the expectation. With a signed manifest every
// byte is compared. The memory it takes does not grow with the objects, only with their number.
//
// An error means that ctx ended or that the store could not be listed; the verdict then is Unknown.
func Verify(ctx context.Context, s Store, name string, exp Expectation) (Verified, error) {
	v, err := verify(ctx, s, name, exp, false)
	return v.verified(), err
}

// verification is one backup while it is verified.
type verification struct {
	*verdict
	ctx   context.Context // of this one call
	store Store
	name  string
	exp   Expectation

	objects []Object
	seal    *Manifest
	// digests of what was streamed, by key, when they are wanted.
	digests   map[string]string
	wantSums  bool
	integrity signal.Status

	doc          *backupDocument
	summary      Summary
	list         resourceList
	added        map[item]bool
	infos        []volumeInfo
	infosRead    bool
	content      *content
	veleroErrors []string
}

func verify(ctx context.Context, s Store, name string, exp Expectation, sums bool) (*verification, error) {
	v := &verification{verdict: newVerdict(), ctx: ctx, store: s, name: name, exp: exp, digests: map[string]string{}, wantSums: sums,
		integrity: signal.Unknown, summary: Summary{Name: name}, added: map[item]bool{}}
	if !ValidName(name) {
		v.wrong(ReasonMissing, dir(name), "there is nothing to restore", "%q is no name of a backup", name)
		return v, nil
	}
	objects, err := s.List(ctx, dir(name))
	if err != nil {
		v.unread(dir(name), "nothing is known of the backup", fmt.Errorf("list: %w", err))
		return v, fmt.Errorf("list %s: %w", dir(name), err)
	}
	v.objects = objects
	if !slices.ContainsFunc(objects, func(o Object) bool { return !partOf(name, o.Key).kind.ours() }) {
		v.wrong(ReasonMissing, dir(name), "there is nothing to restore", "there is no backup of this name")
		return v, nil
	}
	v.all()
	if err := ctx.Err(); err != nil {
		v.stop(signal.Unknown, ReasonUnreadable, dir(name), "what was not read is not known", "the verification did not end in time: %v", err)
		return v, err
	}
	return v, nil
}

// all goes through the objects: first what the tarball is held against, then the rest.
func (v *verification) all() {
	v.manifest()
	v.missing()
	v.stream(kindMetadata, v.metadata)
	v.stream(kindResourceList, zipped(v.resourceList))
	v.stream(kindItemOperations, zipped(v.itemOperations))
	v.stream(kindVolumeInfo, zipped(v.volumeInfos))
	v.content = newContent(v, v.list)
	whole := v.stream(kindContents, zipped(func(p part, r io.Reader) error {
		a := readAhead(r)
		defer a.Close()
		return walkTar(a, v.content)
	}))
	v.stream(kindPodVolumeBackups, zipped(v.podVolumeBackups))
	v.stream(kindVolumeSnapshots, zipped(v.volumeSnapshots))
	v.stream(kindCSISnapshots, zipped(v.csiObjects))
	v.stream(kindCSIContents, zipped(v.csiObjects))
	v.stream(kindCSIClasses, zipped(v.csiObjects))
	v.stream(kindResults, zipped(v.results))
	v.stream(kindLogs, zipped(func(part, io.Reader) error { return nil }))
	v.others()
	if whole {
		v.content.finish()
		v.claims()
		v.workload()
	}
	v.volumes()
	if v.doc != nil {
		v.identity()
		v.ended()
		v.age()
	}
	v.integrityVerdict()
}

// find returns the listed object of a kind.
func (v *verification) find(k kind) (Object, bool) {
	i := slices.IndexFunc(v.objects, func(o Object) bool { return partOf(v.name, o.Key).kind == k })
	if i < 0 {
		return Object{}, false
	}
	return v.objects[i], true
}

// missing names the objects that Velero always writes and that are not there.
func (v *verification) missing() {
	for _, p := range parts() {
		if _, ok := v.find(p.kind); !ok && p.always {
			v.wrong(ReasonObjectMissing, p.key(v.name), p.means, "is missing")
		}
	}
}

func zipped(use func(part, io.Reader) error) func(part, io.Reader) error {
	return func(p part, r io.Reader) error {
		return gunzip(r, func(r io.Reader) error { return use(p, r) })
	}
}

// stream reads the object of a kind once; whole tells that all of it was read and is as its kind must be.
func (v *verification) stream(k kind, use func(part, io.Reader) error) (whole bool) {
	o, ok := v.find(k)
	return ok && v.read(o, use)
}

func (v *verification) read(o Object, use func(part, io.Reader) error) (whole bool) {
	p := partOf(v.name, o.Key)
	b, err := openBody(v.ctx, v.store, o, v.wantSums || v.seal != nil)
	if err != nil {
		v.unread(o.Key, p.means, err)
		return false
	}
	useErr := use(p, b)
	digest, err := b.finish()
	if err != nil { // whatever use said is a consequence
		v.unread(o.Key, p.means, err)
		return false
	}
	if useErr != nil {
		v.wrong(ReasonObjectBroken, o.Key, p.means, "%v", useErr)
	}
	if digest != "" {
		v.digests[o.Key] = digest
	}
	v.equalsManifest(o, p, digest)
	return useErr == nil
}

func (v *verification) metadata(p part, r io.Reader) error {
	doc, err := parseMetadata(r)
	if err != nil {
		return err
	}
	if doc.Metadata.Name != v.name {
		v.wrong(ReasonContent, p.key(v.name), "Velero would take it for another backup", "is of the backup %q", doc.Metadata.Name)
	}
	v.doc, v.summary = doc, doc.summary(v.name)
	return nil
}

func (v *verification) resourceList(p part, r io.Reader) error {
	list, err := parseResourceList(r, func(kind, name string) {
		v.wrong(ReasonContent, p.key(v.name), "the list is not as Velero wrote it", "names %s %s twice", kind, name)
	})
	if err == nil {
		v.list = list
	}
	return err
}

func (v *verification) volumeInfos(_ part, r io.Reader) error {
	err := eachElement(r, func(i volumeInfo) { v.infos = append(v.infos, i) })
	v.infosRead = err == nil
	return err
}

// others are objects that Velero did not write.
func (v *verification) others() {
	for _, o := range v.objects {
		if partOf(v.name, o.Key).kind != kindOther {
			continue
		}
		v.warn(o.Key, "Velero does not read it, and removes it with the backup", "is none of the objects of a backup")
		if v.seal.has(o.Key) {
			v.read(o, func(part, io.Reader) error { return nil })
		}
	}
}

// verified is the verdict as it is told.
func (v *verification) verified() Verified {
	out := Verified{Summary: v.summary, Status: v.status, Reason: v.reason, Integrity: v.integrity, Findings: v.verdict.list(), Listing: Listing(v.name, v.objects)}
	for _, o := range v.objects {
		out.Bytes += o.Size
	}
	for _, i := range v.infos {
		out.Volumes = append(out.Volumes, i.volume())
	}
	slices.SortStableFunc(out.Volumes, func(a, b run.BackupVolume) int {
		return strings.Compare(a.Namespace+"/"+a.Claim, b.Namespace+"/"+b.Claim)
	})
	if v.content != nil {
		out.Objects = v.content.objects
	}
	_, out.Sealed = v.find(kindManifest)
	if out.Message = v.message(); v.status == signal.True {
		out.Message = fmt.Sprintf("%d objects and %d volumes, taken %s ago from Kubernetes %s", out.Objects, len(out.Volumes),
			v.exp.Now.Sub(out.At()).Round(time.Second), out.KubernetesVersion)
		if v.integrity == signal.True {
			out.Message += ", every digest equals the signed manifest"
		}
	}
	return out
}

// Listing is "sha256:<hex>" over key, size, ETag and version of every object that Velero wrote of a backup, so that a manifest that is
// written later does not make it another backup.
func Listing(name string, objects []Object) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range sorted {
		if !partOf(name, o.Key).kind.ours() {
			_ = e.Encode([]any{o.Key, o.Size, o.ETag, o.Version}) // a hash takes everything
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
