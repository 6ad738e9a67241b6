package gate

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

// manager is a Secrets Manager with one secret.
type manager struct {
	value string
	err   error
	asked string
}

func (m *manager) Read(_ context.Context, id, region string) (string, error) {
	m.asked = id + " in " + region
	return m.value, m.err
}

func TestSecretsManager(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		err         error
		none        bool
		code        fault.Code
	}{
		{name: "as RDS writes it", value: `{"engine":"mysql","host":"h","port":3306,"username":"reader","password":"` + password + `"}`},
		{name: "not JSON", value: password, code: fault.ObjectsMissing},
		{name: "a list", value: `["reader","` + password + `"]`, code: fault.ObjectsMissing},
		{name: "no user", value: `{"password":"` + password + `"}`, code: fault.ObjectsMissing},
		{name: "no password", value: `{"username":"reader","pass":"` + password + `"}`, code: fault.ObjectsMissing},
		{name: "an empty password", value: `{"username":"reader","password":""}`, code: fault.ObjectsMissing},
		{name: "a password that is no text", value: `{"username":"reader","password":{"is":"` + password + `"}}`, code: fault.ObjectsMissing},
		{name: "not allowed", err: fault.Newf(fault.PermissionDenied, "read secret shop", "no"), code: fault.PermissionDenied},
		{name: "no way there", none: true, code: fault.PlanInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, shop())
			w.Plan.Spec.Workload.Database.Credentials = plan.Credentials{SecretsManager: &plan.SecretsManagerRef{ID: "shop", Region: "eu-west-1", UsernameKey: "username", PasswordKey: "password"}}
			m := &manager{value: tc.value, err: tc.err}
			h := &Handler{Env: w.Env, Secrets: m}
			if tc.none {
				h.Secrets = nil
			}
			s, err := w.Env.Open(t.Context(), "ReadOnlyTransaction", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			got, err := h.credentials(t.Context(), s)
			if tc.code != "" {
				if fault.From(err).Code != tc.code || got.Password != "" || strings.Contains(err.Error(), password) {
					t.Errorf("%v, want %s", err, tc.code)
				}
				return
			}
			if err != nil || got.Username != "reader" || got.Password != password || m.asked != "shop in eu-west-1" {
				t.Errorf("%+v, %v, asked %q", got, err, m.asked)
			}
		})
	}
}

func FuzzSecretsManagerValue(f *testing.F) {
	for _, s := range []string{`{"username":"a","password":"b"}`, `{"username":1}`, `[]`, `null`, `{`, `{"username":"a","username":null,"password":"b"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := &Handler{Secrets: &manager{value: value}}
		s := &step.Session{Plan: shop()}
		s.Plan.Spec.Workload.Database.Credentials = plan.Credentials{SecretsManager: &plan.SecretsManagerRef{ID: "shop", UsernameKey: "username", PasswordKey: "password"}}
		c, err := h.credentials(t.Context(), s)
		if (err == nil) != (c.Username != "" && c.Password != "") {
			t.Fatalf("%+v, %v", c, err)
		}
		if err == nil && !json.Valid([]byte(value)) {
			t.Fatalf("read from %q", value)
		}
	})
}
