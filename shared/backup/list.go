package backup

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// readers is how many backups' metadata are read at a time.
const readers = 12

// List tells of every backup of the location what velero-backup.json says, the newest first. What cannot be read is a finding, and no
// Summary. An error means that ctx ended or that the location could not be listed.
func List(ctx context.Context, s Store) ([]Summary, []run.Finding, error) {
	found, err := list(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	var out []Summary
	var findings []run.Finding
	for _, l := range found {
		if l.doc == nil {
			findings = append(findings, l.findings...)
			continue
		}
		out = append(out, l.Summary)
	}
	return out, findings, nil
}

// listed is one backup as the listing knows it.
type listed struct {
	Summary
	// doc is nil when it could not be read: findings say why.
	doc      *backupDocument
	findings []run.Finding
	objects  []Object
	modified time.Time
}

// when is the time by which backups are ordered: that of their content, or of their newest object where it is not known.
func (l listed) when() time.Time {
	if t := l.At(); !t.IsZero() {
		return t
	}
	return l.modified
}

func list(ctx context.Context, s Store) ([]listed, error) {
	objects, err := s.List(ctx, backupsDir)
	if err != nil {
		return nil, fmt.Errorf("list the backups: %w", err)
	}
	byName := map[string][]Object{}
	for _, o := range objects {
		if name, _, ok := strings.Cut(strings.TrimPrefix(o.Key, backupsDir), "/"); ok && ValidName(name) {
			byName[name] = append(byName[name], o)
		}
	}
	out := make([]listed, 0, len(byName))
	for name := range byName {
		out = append(out, listed{Summary: Summary{Name: name}})
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i := range out {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i].read(ctx, s, byName[out[i].Name])
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list the backups: %w", err)
	}
	slices.SortFunc(out, func(a, b listed) int {
		if d := b.when().Compare(a.when()); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// read fills in what velero-backup.json says.
func (l *listed) read(ctx context.Context, s Store, objects []Object) {
	v := &verification{verdict: newVerdict(), ctx: ctx, store: s, name: l.Name, objects: objects}
	if _, ok := v.find(kindMetadata); !ok {
		p := partOf(l.Name, keyOf(l.Name, kindMetadata))
		v.wrong(ReasonObjectMissing, p.key(l.Name), p.means, "is missing")
	}
	v.stream(kindMetadata, func(p part, r io.Reader) error { return v.metadata(p, r) })
	l.findings, l.objects = v.verdict.list(), objects
	if l.doc = v.doc; v.doc != nil {
		l.Summary = v.summary
	}
	_, l.Sealed = v.find(kindManifest)
	for _, o := range objects {
		l.Bytes += o.Size
		if o.Modified.After(l.modified) {
			l.modified = o.Modified
		}
	}
}
