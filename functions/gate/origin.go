package gate

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// origin is where the data of a pod comes from. The zero value: it is on the volumes that the workload had, and went on.
type origin struct {
	restored bool
	// point is the oldest restore point of the pod's volumes, until the time of the newest: what is from later did not come from them. Both
	// are zero when it is not known what the data came from; unknown says why.
	point   run.RestorePoint
	until   time.Time
	unknown string
}

func notKnown(format string, args ...any) origin {
	return origin{restored: true, unknown: fmt.Sprintf(format, args...)}
}

// from is a restore point whose data is of a time between two.
func from(p run.RestorePoint, until time.Time) origin {
	if until.Before(p.At) {
		until = p.At
	}
	return origin{restored: true, point: p, until: until}
}

// and is the origin of data that is on several volumes.
func (o origin) and(p origin) origin {
	switch {
	case !p.restored, o.unknown != "":
		return o
	case !o.restored, p.unknown != "":
		return p
	}
	if p.point.At.Before(o.point.At) {
		o.point = p.point
	}
	if p.until.After(o.until) {
		o.until = p.until
	}
	return o
}

// wrote tells whether a heartbeat was written by the restored copy itself, so that it says nothing of what came back: it is from after
// the restore point, by more than two clocks may differ (database.Skew); or from after the trigger, when the copy may have begun to
// write, while the restore point is from before it. Where it is not known what the data came from, the trigger is all there is to
// compare with.
func (o origin) wrote(at, triggered time.Time) bool {
	if !o.restored {
		return false
	}
	return (o.until.Before(triggered) && at.After(triggered)) || (!o.until.IsZero() && at.After(o.until.Add(database.Skew)))
}

func (o origin) String() string {
	if o.unknown != "" {
		return o.unknown
	}
	return fmt.Sprintf("the data came from %s %s of %s", o.point.Kind, o.point.Name, o.point.At.UTC().Format(time.RFC3339))
}

// origins finds where the data of pods comes from.
type origins struct {
	s *step.Session
	// all is the answer for every pod, in a drill; claims are those of the namespace otherwise, unread why they could not be read.
	all    *origin
	claims map[string]corev1.PersistentVolumeClaim
	unread string
}

// readOrigins asks the run's own sections in a drill: everything in it was restored. In a recover a tier may have made claims from
// snapshots; its section does not tell, for a step that was killed or tried again leaves none, and the claims themselves do
// (change.AnnotationTakenAt). That they could not be read keeps no workload from recovering: then it is not known.
func readOrigins(ctx context.Context, s *step.Session) origins {
	out := origins{s: s}
	if s.Run.Mode == run.Drill {
		o := drilled(s.Run)
		out.all = &o
		return out
	}
	list, err := cluster.List[corev1.PersistentVolumeClaim](ctx, s.Cluster, cluster.PersistentVolumeClaims, s.Target(), metav1.ListOptions{})
	if err != nil {
		out.unread = "the claims could not be read: " + run.Short(err.Error(), 160)
		return out
	}
	out.claims = make(map[string]corev1.PersistentVolumeClaim, len(list))
	for _, c := range list {
		out.claims[c.Name] = c
	}
	return out
}

// drilled is what a drill's copy was restored from: the backup, whose snapshots were taken between its start and its end; else the
// snapshots of its claims.
func drilled(r run.Run) origin {
	if r.Restore == nil {
		return notKnown("the run does not say what was restored")
	}
	if b := r.Backup; r.Restore.Velero != nil && b != nil && b.CompletedAt != nil {
		p := run.RestorePoint{Kind: run.OfBackup, Name: b.Name, At: *b.CompletedAt}
		if b.StartedAt != nil {
			p.At = *b.StartedAt
		}
		return from(p, *b.CompletedAt)
	}
	out := origin{}
	for _, c := range r.Restore.Claims {
		if c.TakenAt.IsZero() {
			return notKnown("the snapshot of claim %s does not say when it was taken", c.Claim)
		}
		out = out.and(from(run.RestorePoint{Kind: run.OfSnapshot, Name: c.Title(), At: c.TakenAt}, c.TakenAt))
	}
	if !out.restored {
		return notKnown("the run does not say which snapshots were restored")
	}
	return out
}

func (o origins) of(p *corev1.Pod) origin {
	switch {
	case o.all != nil:
		return *o.all
	case o.unread != "":
		return notKnown("%s", o.unread)
	}
	out := origin{}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		name := v.PersistentVolumeClaim.ClaimName
		c, ok := o.claims[name]
		if !ok {
			return notKnown("claim %s does not exist", name)
		}
		out = out.and(o.claim(c))
	}
	return out
}

// claim tells what a claim's data is. One that was there when the run was triggered, and one that a run made for a volume that was kept,
// has the workload's own. One that came since and that no run made is the StatefulSet's controller's, and empty; or somebody's, of whom
// nothing is known.
func (o origins) claim(c corev1.PersistentVolumeClaim) origin {
	taken, annotated := c.Annotations[change.AnnotationTakenAt]
	by := c.Labels[change.LabelRun]
	switch {
	case by != o.s.Run.ID && c.CreationTimestamp.Time.Before(triggered(o.s.Run).Add(-database.Skew)):
		return origin{}
	case annotated:
		at, err := time.Parse(time.RFC3339, taken)
		if err != nil {
			return notKnown("annotation %s of claim %s is %q, expected a time (RFC 3339)", change.AnnotationTakenAt, c.Name, taken)
		}
		name := "of claim " + c.Name
		if c.Spec.DataSource != nil {
			name = c.Namespace + "/" + c.Spec.DataSource.Name
		}
		return from(run.RestorePoint{Kind: run.OfSnapshot, Name: name, At: at.UTC()}, at.UTC())
	case c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil:
		return notKnown("claim %s was made from a source whose time is not known", c.Name)
	case by != "":
		return origin{}
	}
	return notKnown("claim %s was made after the trigger, and not by this run", c.Name)
}
