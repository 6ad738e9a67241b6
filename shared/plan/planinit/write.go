package planinit

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
)

// bounds is "15m  # 10s to 1h", from the table of limits.
func bounds(path string) string {
	l, ok := limits.Get(path)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s  # %s to %s", plan.Duration(l.Default), plan.Duration(l.Min), plan.Duration(l.Cap))
}

// planName makes a plan's name of the StatefulSet's: a DNS label of at most plan.NameLimit characters.
func planName(statefulSet string) string {
	name := strings.ReplaceAll(statefulSet, ".", "-")
	if len(name) > plan.NameLimit {
		name = name[:plan.NameLimit]
	}
	return strings.Trim(name, "-")
}

func (w *writer) header(live Live) {
	sts := live.StatefulSet
	w.note(0, "The fallback chain of StatefulSet %s in namespace %s, written from the live workload.", sts.Name, sts.Namespace)
	w.note(0, "%s marks what must be replaced, %s marks a guess. Lines that begin with # show defaults.", FillIn, Check)
	w.note(0, "Test it with: fallback plan validate -f FILE")
	w.value(0, "apiVersion", plan.APIVersion)
	w.value(0, "kind", plan.Kind)
	w.line(0, "metadata:")
	w.value(1, "name", planName(sts.Name), "part of run IDs and of drill namespaces")
	w.line(0, "spec:")
}

func (w *writer) workload(live Live) {
	sts := live.StatefulSet
	db := guess(live)
	w.line(1, "workload:")
	w.value(2, "namespace", sts.Namespace)
	w.value(2, "statefulSet", sts.Name, replicas(sts.Spec.Replicas))
	w.line(2, "database:")
	w.value(3, "engine", string(db.engine), db.engineNote)
	w.line(3, fmt.Sprintf("port: %d", db.port), db.portNote)
	for _, s := range live.Services {
		w.note(3, "Service %s: %s", s.Name, ports(s))
	}
	w.value(3, "name", db.name, db.nameNote)
	w.note(3, "The gate refuses a superuser: give it a role that may only read. It can be in Secrets Manager as well:")
	w.note(3, "credentials: {secretsManager: {id: NAME-OR-ARN, usernameKey: username, passwordKey: password}}")
	w.line(3, "credentials:")
	w.line(4, "secret:")
	w.value(5, "name", db.secret, db.secretNote)
	w.value(5, "usernameKey", db.userKey, db.keyNote)
	w.value(5, "passwordKey", db.passwordKey, db.keyNote)
	for _, s := range live.Secrets {
		if s.Type == "" || s.Type == corev1.SecretTypeOpaque || s.Type == corev1.SecretTypeBasicAuth {
			w.note(4, "Secret %s has the keys %s", s.Name, strings.Join(slices.Sorted(slices.Values(s.Keys)), ", "))
		}
	}
	w.value(3, "pod", plan.DefaultPod, `primary: the one pod that is no replica; each: every pod on its own; "0": that ordinal`)
	w.off(3, "statementTimeout", "spec.workload.database.statementTimeout")
	w.note(3, "tls: %s  # when the server offers it; or %s", plan.TLSPrefer, plan.TLSRequire)
	w.note(3, "Each query returns one row with one column; expect has one of equals, atLeast, atMost, matches.")
	w.line(3, "queries:")
	w.value(4, "- name", "tables", Check+": ask for rows that a restored database must have")
	w.value(5, "sql", db.tables)
	w.line(5, "expect:")
	w.line(6, "atLeast: 1")
	w.data()
}

func replicas(n *int32) string {
	if n == nil || *n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", *n)
}

func ports(s corev1.Service) string {
	var out []string
	for _, p := range s.Spec.Ports {
		out = append(out, fmt.Sprintf("%d to %s", p.Port, p.TargetPort.String()))
	}
	text := strings.Join(out, ", ")
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		text += " (headless)"
	}
	return cmp.Or(text, "no ports")
}

// eksContext is a context as `aws eks update-kubeconfig` names it.
var eksContext = regexp.MustCompile(`^arn:aws[a-z-]*:eks:([a-z0-9-]+):[0-9]{12}:cluster/([0-9A-Za-z][A-Za-z0-9_-]{0,99})$`)

func (w *writer) cluster(live Live) {
	w.note(1, "Exactly one of kubeconfig and eks. A relative path is relative to this file.")
	w.line(1, "cluster:")
	if m := eksContext.FindStringSubmatch(live.Context); m != nil {
		w.note(2, "eks: {name: %s, region: %s}", m[2], m[1])
	} else {
		w.note(2, "eks: {name: NAME, region: REGION}")
	}
	w.line(2, "kubeconfig:")
	if live.Kubeconfig == "" {
		w.value(3, "path", "kubeconfig", FillIn+": the kubeconfig's path")
	} else {
		w.value(3, "path", live.Kubeconfig)
	}
	if live.Context != "" {
		w.value(3, "context", live.Context)
	}
}

func (w *writer) inventory(live Live) {
	w.note(1, "What should exist. Make it, and keep it fresh, with: fallback inventory capture -f FILE")
	w.line(1, "inventory:")
	w.line(2, "manifests:")
	w.value(3, "path", planName(live.StatefulSet.Name)+"-inventory", "a directory, or s3://bucket/prefix")
	w.velero(live.Velero)
	w.off(2, "maxAge", "spec.inventory.maxAge")
}

func (w *writer) volumes(live Live) {
	classes, provisioners := storage(live)
	if len(classes) > 0 {
		w.note(1, "Storage classes of the claims: %s", strings.Join(classes, ", "))
	}
	d, note := controller(live, provisioners)
	if d == nil {
		w.note(1, "The CSI driver's controller; without it the driver is judged by CSIDriver and CSINode alone.")
		w.note(1, "volumes: {controller: {namespace: kube-system, name: NAME}}")
		return
	}
	w.line(1, "volumes:")
	w.line(2, "controller:")
	w.value(3, "namespace", d.namespace, note)
	w.value(3, "name", d.name)
}

func (w *writer) tiers() {
	const at = "spec.tiers."
	w.note(1, "Tiers, best first. Each is enabled unless it says enabled: false.")
	w.line(1, "tiers:")
	w.line(2, "volumeAttachmentSync:")
	w.line(3, "enabled: true")
	w.off(3, "budget", at+"volumeAttachmentSync.budget")
	w.off(3, "stuckAfter", at+"volumeAttachmentSync.stuckAfter")
	w.line(2, "controlPlaneReconcile:")
	w.line(3, "enabled: true")
	w.off(3, "budget", at+"controlPlaneReconcile.budget")
	w.note(3, "overwrite: false  # whether objects with other content than the inventory's may be changed")
	w.line(2, "degradedStatefulSet:")
	w.line(3, "enabled: true")
	w.off(3, "budget", at+"degradedStatefulSet.budget")
	w.note(3, "relax: {nodeSelector: true, affinity: true, topologySpread: true, tolerateAll: true, cpu: 250m, memory: 512Mi}")
	w.off(2, "failedSchedulingPersistence", at+"failedSchedulingPersistence")
	w.off(1, "apiServerWait", limits.APIServerWait)
	w.note(1, "gate:")
	w.off(1, "  stability", "spec.gate.stability")
	w.off(1, "  budget", limits.GateBudget)
}

func (w *writer) quarantine() {
	w.note(1, "Applied: all policies read back. Enforced: a probe from inside failed to get out as well.")
	w.line(1, "quarantine:")
	w.value(2, "level", string(plan.LevelEnforced))
	w.note(2, "peers: [{cidr: 10.20.0.0/16, ports: [443]}]  # what the workload may still talk to")
	w.note(2, "probes: [%q]", plan.DefaultProbe)
	w.note(2, "probeImage: %s  # it needs sh, nslookup and nc", plan.DefaultProbeImage)
	w.off(2, "budget", limits.QuarantineBudget)
	w.note(1, "drill:")
	w.off(1, "  restoreBudget", limits.RestoreBudget)
	w.off(1, "  teardownBudget", limits.TeardownBudget)
}

func (w *writer) rollback(live Live) {
	_, provisioners := storage(live)
	w.line(1, "rollback:")
	w.line(2, "snapshots:")
	w.value(3, "source", string(plan.SnapshotsFresh), "or Existing: the newest ready ones")
	var have []string
	for _, c := range live.SnapshotClasses {
		for _, p := range provisioners {
			if c.Driver == p {
				have = append(have, c.Name)
			}
		}
	}
	switch len(have) {
	case 0:
		w.note(3, "%s: no VolumeSnapshotClass for the driver was found; without one there is no rollback of data", Check)
	case 1:
		w.value(3, "class", have[0])
	default:
		w.value(3, "class", have[0], Check+": one of "+strings.Join(have, ", "))
	}
	w.note(2, "scaleBack: true")
	w.off(2, "budget", limits.RollbackBudget)
}

func (w *writer) rest() {
	w.note(1, "objectives: {rto: 30m, rpo: 24h}")
	w.note(1, "schedule:")
	w.note(1, "  drill: cron(15 3 * * ? *)")
	w.note(1, "  timeZone: %s", plan.DefaultTimeZone)
	w.note(1, "triggers:")
	w.off(1, "  holdDown", limits.HoldDown)
	w.off(1, "  coolDown", "spec.triggers.coolDown")
	w.note(1, "notify: {snsTopicArn: 'arn:aws:sns:REGION:ACCOUNT:TOPIC'}")
}
