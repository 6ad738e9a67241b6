package plan

import (
	"reflect"

	"fallbackchain.io/fallback/shared/plan/limits"
)

// What stands in when a plan does not say. Durations are in package limits.
const (
	DefaultPod         = "primary"
	DefaultUsernameKey = "username"
	DefaultPasswordKey = "password"
	// DefaultProbe is the API server's Service: every pod of an open cluster reaches it, so failing to reach it says
	// something on any cluster, also on one without a way to the internet.
	DefaultProbe = "kubernetes.default.svc:443"
	// DefaultProbeImage has sh, nslookup and nc.
	DefaultProbeImage = "busybox:1.37.0"
	DefaultTimeZone   = "UTC"
	// DefaultVeleroNamespace and DefaultStorageLocation are what velero install makes.
	DefaultVeleroNamespace = "velero"
	DefaultStorageLocation = "default"
)

// WithDefaults returns a copy in which every field that has a default is set.
func (p *Plan) WithDefaults() *Plan {
	out := clone(reflect.ValueOf(p)).Interface().(*Plan)
	durations(reflect.ValueOf(out).Elem(), "")
	s := &out.Spec
	set(&s.Workload.Database.Pod, DefaultPod)
	if sec := s.Workload.Database.Credentials.Secret; sec != nil {
		set(&sec.UsernameKey, DefaultUsernameKey)
		set(&sec.PasswordKey, DefaultPasswordKey)
	}
	if m := s.Workload.Database.Credentials.SecretsManager; m != nil {
		set(&m.UsernameKey, DefaultUsernameKey)
		set(&m.PasswordKey, DefaultPasswordKey)
	}
	set(&s.Workload.Database.TLS, TLSPrefer)
	for i := range s.Workload.Database.Queries {
		set(&s.Workload.Database.Queries[i].Kind, SmokeQuery)
	}
	if s.Inventory != nil && s.Inventory.Velero != nil {
		v := s.Inventory.Velero
		set(&v.Namespace, DefaultVeleroNamespace)
		set(&v.StorageLocation, DefaultStorageLocation)
		set(&v.Integrity.Manifest, ManifestOptional)
		set(&v.Rehearsal, RehearsalStops)
	}
	for _, b := range []**bool{&s.Tiers.VolumeAttachmentSync.Enabled, &s.Tiers.ControlPlaneReconcile.Enabled,
		&s.Tiers.DegradedStatefulSet.Enabled, &s.Rollback.ScaleBack} {
		if *b == nil {
			yes := true
			*b = &yes
		}
	}
	set(&s.Quarantine.Level, LevelEnforced)
	if s.Quarantine.Level == LevelEnforced {
		set(&s.Quarantine.ProbeImage, DefaultProbeImage)
		if len(s.Quarantine.Probes) == 0 {
			s.Quarantine.Probes = []string{DefaultProbe}
		}
	}
	set(&s.Rollback.Snapshots.Source, SnapshotsFresh)
	set(&s.Schedule.TimeZone, DefaultTimeZone)
	return out
}

func set[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// durations fills every unset Duration from the table of limits.
func durations(v reflect.Value, path string) {
	if v.Kind() == reflect.Pointer {
		if !v.IsNil() {
			durations(v.Elem(), path)
		}
		return
	}
	if v.Type() == reflect.TypeFor[Duration]() {
		if l, ok := limits.Get(path); ok && v.Int() == 0 {
			v.SetInt(int64(l.Default))
		}
		return
	}
	if v.Kind() != reflect.Struct {
		return
	}
	for f, field := range v.Fields() {
		durations(field, join(path, yamlName(f)))
	}
}

// clone copies a plan deeply; its types are only structs, pointers, slices, maps and plain values.
func clone(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(clone(v.Elem()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(clone(v.Field(i)))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(clone(v.Index(i)))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for k, e := range v.Seq2() {
				out.SetMapIndex(k, clone(e))
			}
		}
	default:
		out.Set(v)
	}
	return out
}
