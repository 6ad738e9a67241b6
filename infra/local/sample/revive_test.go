package sample

import (
	"testing"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
)

// TestDeprived: Velero is left alone only when it runs, and its servers have run for longer.
func TestDeprived(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		change func(map[string]*process.Status)
		want   bool
	}{
		"nothing happened":                      {func(map[string]*process.Status) {}, false},
		"another program was started again":     {func(m map[string]*process.Status) { m[stack.Kwok].Since = at.Add(time.Hour) }, false},
		"Velero was killed":                     {func(m map[string]*process.Status) { m[stack.Velero].State = process.Stopped }, true},
		"Velero crashed and starts again":       {func(m map[string]*process.Status) { m[stack.Velero].State = process.Restarting }, true},
		"the API server is down":                {func(m map[string]*process.Status) { m[stack.APIServer].State = process.Stopped }, true},
		"the API server was started again":      {func(m map[string]*process.Status) { m[stack.APIServer].Since = at.Add(time.Hour) }, true},
		"etcd was started again":                {func(m map[string]*process.Status) { m[stack.Etcd].Since = at.Add(time.Hour) }, true},
		"the S3 server was started with Velero": {func(m map[string]*process.Status) { m[stack.S3].Since = m[stack.Velero].Since }, true},
		"Velero is not known":                   {func(m map[string]*process.Status) { delete(m, stack.Velero) }, true},
		"etcd is not known":                     {func(m map[string]*process.Status) { delete(m, stack.Etcd) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]*process.Status{}
			for i, n := range []string{stack.S3, stack.Etcd, stack.APIServer, stack.Kwok, stack.Velero} {
				all[n] = &process.Status{Name: n, State: process.Running, Since: at.Add(time.Duration(i) * time.Second)}
			}
			tc.change(all)
			var list []process.Status
			for _, s := range all {
				list = append(list, *s)
			}
			if got := deprived(list); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}
