package main

import (
	"encoding/json"
	"strconv"

	"github.com/invopop/jsonschema"

	"fallbackchain.io/fallback/shared/plan"
)

type rule = func(*jsonschema.Schema)

// Shapes of names (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
const (
	label     = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	subdomain = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	variable  = `^[A-Za-z_][A-Za-z0-9_]*$`
	schedule  = `^(rate|cron|at)\(.+\)$`
)

// rules are by path of the field.
func rules() map[string]rule {
	const db = "spec.workload.database"
	return map[string]rule{
		"apiVersion":                                   constant(plan.APIVersion),
		"kind":                                         constant(plan.Kind),
		"metadata.name":                                shape(label, plan.NameLimit),
		"spec.workload.namespace":                      shape(label, 63),
		"spec.workload.statefulSet":                    shape(subdomain, 253),
		db + ".engine":                                 enum(string(plan.PostgreSQL), string(plan.MySQL)),
		db + ".port":                                   port,
		db + ".name":                                   shape("", 64),
		db + ".credentials":                            exactlyOne("secret", "environment", "secretsManager"),
		db + ".credentials.secret.name":                shape(subdomain, 253),
		db + ".credentials.secret.usernameKey":         byDefault(plan.DefaultUsernameKey),
		db + ".credentials.secret.passwordKey":         byDefault(plan.DefaultPasswordKey),
		db + ".credentials.environment.username":       shape(variable, 0),
		db + ".credentials.environment.password":       shape(variable, 0),
		db + ".pod":                                    both(shape(`^(primary|each|0|[1-9][0-9]{0,3})$`, 0), byDefault(plan.DefaultPod)),
		db + ".tls":                                    both(enum(string(plan.TLSPrefer), string(plan.TLSRequire)), byDefault(string(plan.TLSPrefer))),
		db + ".canary.sha256":                          shape(`^[0-9a-f]{64}$`, 0),
		db + ".heartbeat.sql":                          shape("", plan.SQLLimit),
		db + ".canary.sql":                             shape("", plan.SQLLimit),
		db + ".queries[].kind":                         both(enum(string(plan.SmokeQuery), string(plan.RowCountQuery), string(plan.ChecksumQuery)), byDefault(string(plan.SmokeQuery))),
		db + ".credentials.secretsManager.region":      shape(`^[a-z]{2,}(-[a-z]+)+-[0-9]$`, 0),
		db + ".credentials.secretsManager.usernameKey": byDefault(plan.DefaultUsernameKey),
		db + ".credentials.secretsManager.passwordKey": byDefault(plan.DefaultPasswordKey),
		"spec.inventory.velero.location":               shape(`^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$`, 0),
		"spec.inventory.velero.endpoint":               shape(`^https?://`, 0),
		"spec.inventory.velero.namespace":              both(shape(label, 63), byDefault(plan.DefaultVeleroNamespace)),
		"spec.inventory.velero.storageLocation":        both(shape(subdomain, 253), byDefault(plan.DefaultStorageLocation)),
		"spec.inventory.velero.schedule":               shape(subdomain, 253),
		"spec.inventory.velero.restorePoint.backup":    shape(subdomain, 253),
		"spec.inventory.velero.integrity.manifest":     both(enum(string(plan.ManifestOptional), string(plan.ManifestRequired)), byDefault(string(plan.ManifestOptional))),
		"spec.inventory.velero.rehearsal":              both(enum(string(plan.RehearsalStops), string(plan.RehearsalReports)), byDefault(string(plan.RehearsalStops))),
		db + ".queries":                                func(s *jsonschema.Schema) { s.MaxItems = number(plan.QueryLimit) },
		db + ".queries[].name":                         shape("", 63),
		db + ".queries[].sql":                          shape("", plan.SQLLimit),
		db + ".queries[].expect":                       exactlyOne("equals", "atLeast", "atMost", "matches"),
		"spec.cluster":                                 exactlyOne("eks", "kubeconfig"),
		"spec.cluster.eks.name":                        shape(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`, 0),
		"spec.cluster.eks.region":                      shape(`^[a-z]{2,}(-[a-z]+)+-[0-9]$`, 0),
		"spec.inventory":                               exactlyOne("manifests", "velero"),
		"spec.volumes.controller.namespace":            shape(label, 63),
		"spec.volumes.controller.name":                 shape(subdomain, 253),
		"spec.tiers.volumeAttachmentSync.enabled":      byDefault(true),
		"spec.tiers.controlPlaneReconcile.enabled":     byDefault(true),
		"spec.tiers.degradedStatefulSet.enabled":       byDefault(true),
		"spec.quarantine.level":                        both(enum(string(plan.LevelApplied), string(plan.LevelEnforced)), byDefault(string(plan.LevelEnforced))),
		"spec.quarantine.probes":                       byDefault([]string{plan.DefaultProbe}),
		"spec.quarantine.probeImage":                   byDefault(plan.DefaultProbeImage),
		"spec.quarantine.peers[].ports[]":              port,
		"spec.rollback.snapshots.source":               both(enum(string(plan.SnapshotsFresh), string(plan.SnapshotsExisting)), byDefault(string(plan.SnapshotsFresh))),
		"spec.rollback.snapshots.class":                shape(subdomain, 253),
		"spec.rollback.scaleBack":                      byDefault(true),
		"spec.pause[].kind":                            shape(`^[A-Z][A-Za-z0-9]{0,62}$`, 0),
		"spec.pause[].namespace":                       shape(label, 63),
		"spec.pause[].name":                            shape(subdomain, 253),
		"spec.schedule.drill":                          shape(schedule, 0),
		"spec.schedule.evaluate":                       shape(schedule, 0),
		"spec.schedule.timeZone":                       byDefault(plan.DefaultTimeZone),
		"spec.notify.snsTopicArn":                      shape(`^arn:aws(-[a-z]+)*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$`, 0),
	}
}

func number(n int) *uint64 { u := uint64(n); return &u }

func both(rules ...rule) rule {
	return func(s *jsonschema.Schema) {
		for _, r := range rules {
			r(s)
		}
	}
}

func constant(v string) rule { return func(s *jsonschema.Schema) { s.Const = v } }

func byDefault(v any) rule { return func(s *jsonschema.Schema) { s.Default = v } }

func enum(values ...string) rule {
	return func(s *jsonschema.Schema) {
		for _, v := range values {
			s.Enum = append(s.Enum, v)
		}
	}
}

// shape sets a pattern, when there is one, and the most characters, when above 0.
func shape(pattern string, longest int) rule {
	return func(s *jsonschema.Schema) {
		s.Pattern = pattern
		if longest > 0 {
			s.MaxLength = number(longest)
		}
	}
}

func port(s *jsonschema.Schema) {
	s.Minimum, s.Maximum = json.Number("1"), json.Number(strconv.Itoa(65535))
}

func exactlyOne(fields ...string) rule {
	return func(s *jsonschema.Schema) {
		for _, f := range fields {
			s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{f}})
		}
	}
}
