package events

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

const (
	wantPlanName = "a plan's name: at most 30 characters of a-z, 0-9 and -, beginning and ending with a letter or digit"
	wantURI      = "where the plan is: a file path or s3://bucket/key, at most 1024 characters"
	wantDigest   = "\"sha256:\" and 64 hexadecimal digits, or nothing"
	wantRFC3339  = "a time such as 2026-11-20T02:00:00Z"
	wantID       = "<plan>-<mode>-<yyyymmddhhmmss>-<4 hex>, e.g. shop-drill-20261120020000-9f3c"
	wantAlarmARN = "the ARN of a CloudWatch alarm, such as arn:aws:cloudwatch:us-east-1:123456789012:alarm:NAME"
)

var (
	digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// Bucket names: 3 to 63 characters of a-z 0-9 . -
	// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
	s3URI    = regexp.MustCompile(`^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$`)
	alarmARN = regexp.MustCompile(`^arn:aws[a-z-]*:cloudwatch:[a-z0-9-]+:[0-9]{12}:alarm:(.{1,255})$`)
)

// started tells which modes a trigger may start: a schedule looks or drills, an alarm recovers, a person may ask for all.
var started = map[run.TriggerKind][]run.Mode{
	run.Schedule: {run.Evaluate, run.Drill},
	run.Alarm:    {run.Recover},
	run.Manual:   run.Modes,
}

// Check tells what is wrong with a run's identity: ID, mode, trigger, plan reference and start. It says nothing of the
// run's sections, so it holds at any time of the run.
func Check(r run.Run) Mistakes {
	var bad Mistakes
	wrong := func(field, got, want string) {
		if got != "" {
			got = clip(strconv.Quote(got))
		}
		bad = append(bad, Mistake{Field: field, Got: got, Want: want})
	}
	modeKnown := slices.Contains(run.Modes, r.Mode)
	if !modeKnown {
		wrong("mode", string(r.Mode), fmt.Sprintf("one of %v", run.Modes))
	}
	if parts, err := runid.Parse(r.ID); err != nil {
		wrong("id", r.ID, wantID)
	} else {
		if r.Plan.Name != "" && parts.Plan != r.Plan.Name {
			wrong("id", r.ID, fmt.Sprintf("an ID of the plan %q", r.Plan.Name))
		}
		if modeKnown && parts.Mode != r.Mode {
			wrong("id", r.ID, fmt.Sprintf("an ID of the mode %q", r.Mode))
		}
	}
	modes, known := started[r.Trigger.Kind]
	switch {
	case !known:
		wrong("trigger.kind", string(r.Trigger.Kind), "schedule, alarm or manual")
	case modeKnown && !slices.Contains(modes, r.Mode):
		wrong("mode", string(r.Mode), fmt.Sprintf("one of %v for the trigger %q", modes, r.Trigger.Kind))
	}
	if y := r.Trigger.At.UTC().Year(); r.Trigger.At.IsZero() {
		wrong("trigger.at", "", wantRFC3339)
	} else if y < 1970 || y > 9999 {
		wrong("trigger.at", r.Trigger.At.String(), wantRFC3339)
	}
	if r.Trigger.Kind == run.Alarm && !alarmARN.MatchString(r.Trigger.AlarmARN) {
		wrong("trigger.alarmArn", r.Trigger.AlarmARN, wantAlarmARN)
	}
	if known && r.Trigger.Kind != run.Alarm && r.Trigger.AlarmARN != "" {
		wrong("trigger.alarmArn", r.Trigger.AlarmARN, "nothing: only the trigger \"alarm\" has one")
	}
	if r.StartedAt.IsZero() {
		wrong("startedAt", "", wantRFC3339)
	}
	if r.Plan.Name == "" {
		wrong("plan.name", "", wantPlanName)
	}
	if r.Plan.URI == "" {
		wrong("plan.uri", "", wantURI)
	}
	return append(bad, checkPlan("plan", r.Plan)...)
}

// CheckInput tells what is wrong with a run as an execution's input: Check, and nothing written yet by any step. A
// section in the input would stand in for a step that never ran.
func CheckInput(r run.Run) Mistakes {
	bad := Check(r)
	absent := func(field string, there bool) {
		if there {
			bad = append(bad, Mistake{Field: field, Got: "there already", Want: "nothing: the run's steps write it"})
		}
	}
	absent("admit", r.Admit != nil)
	absent("lease", r.Lease != nil)
	absent("assess", r.Assess != nil)
	absent("rollbackpoint", r.RollbackPoint != nil)
	absent("quarantine", r.Quarantine != nil)
	absent("restore", r.Restore != nil)
	absent("volumesync", r.VolumeSync != nil)
	absent("controlplane", r.ControlPlane != nil)
	absent("degraded", r.Degraded != nil)
	absent("gate", r.Gate != nil)
	absent("rollback", r.Rollback != nil)
	absent("teardown", r.Teardown != nil)
	absent("report", r.Report != nil)
	absent("demotions", len(r.Demotions) > 0)
	absent("faults", len(r.Faults) > 0)
	absent("outcome", r.Outcome != nil)
	return bad
}

// checkPlan tells what is wrong with the fields of a plan reference that are set.
func checkPlan(path string, p run.PlanRef) Mistakes {
	var bad Mistakes
	wrong := func(field, got, want string) {
		bad = append(bad, Mistake{Field: path + "." + field, Got: clip(strconv.Quote(got)), Want: want})
	}
	if p.Name != "" && runid.CheckPlanName(p.Name) != nil {
		wrong("name", p.Name, wantPlanName)
	}
	if p.URI != "" {
		control := strings.ContainsFunc(p.URI, func(c rune) bool { return c < ' ' || c == 0x7f })
		if control || len(p.URI) > 1024 || strings.Contains(p.URI, "://") && !s3URI.MatchString(p.URI) {
			wrong("uri", p.URI, wantURI)
		}
	}
	if p.Digest != "" && !digest.MatchString(p.Digest) {
		wrong("digest", p.Digest, wantDigest)
	}
	return bad
}
