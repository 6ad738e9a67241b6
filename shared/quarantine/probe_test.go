package quarantine

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

var addresses = []string{"10.0.0.5:5432", "example.com:443"}

// ended is a probe pod whose container said message.
func ended(exit int32, message string) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "probe", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Message: message}}}}}}
}

const good = "control ok kubernetes.default.svc.cluster.local\nclosed 10.0.0.5 5432\nclosed example.com 443\nend\n"

func TestReadProbe(t *testing.T) {
	const control = "the probe's control failed: kubernetes.default.svc.cluster.local did not resolve, so addresses that are not reached prove nothing"
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		want ProbeVerdict
	}{
		{"nothing reached and DNS answers", ended(0, good), ProbeVerdict{Ended: true, Enforced: true}},
		{"one address reached", ended(0, strings.Replace(good, "closed example.com", "open example.com", 1)),
			ProbeVerdict{Ended: true, Findings: []string{"a pod inside reached example.com:443"}}},
		{"one address reached and missed", ended(0, good+"open example.com 443\n"), ProbeVerdict{Ended: true, Findings: []string{"a pod inside reached example.com:443"}}},
		{"one address not tried", ended(0, strings.Replace(good, "closed example.com 443\n", "", 1)), ProbeVerdict{Ended: true, Findings: []string{"example.com:443 was not tried"}}},
		{"the control failed", ended(0, "control failed kubernetes.default.svc.cluster.local\nend\n"),
			ProbeVerdict{Ended: true, Findings: []string{control, "10.0.0.5:5432 was not tried", "example.com:443 was not tried"}}},
		{"the control of something else", ended(0, strings.Replace(good, "kubernetes.default", "localhost", 1)), ProbeVerdict{Ended: true, Findings: []string{control}}},
		{"the message was cut", ended(0, strings.TrimSuffix(good, "end\n")), ProbeVerdict{Ended: true, Findings: []string{
			`the probe's result is incomplete: "control ok kubernetes.default.svc.cluster.local\nclosed 10.0.0.5 5432\nclosed example.com 443\n"`}}},
		{"no message", ended(0, ""), ProbeVerdict{Ended: true, Findings: []string{`the probe's result is incomplete: ""`}}},
		{"the shell failed", ended(127, good), ProbeVerdict{Ended: true, Findings: []string{"the probe ended with exit code 127: " + strings.TrimSpace(good)}}},
		{"still running", &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "probe"}}}}, ProbeVerdict{}},
		{"not scheduled", &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, ProbeVerdict{}},
		{"evicted", &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"}},
			ProbeVerdict{Ended: true, Findings: []string{"the probe pod failed: Evicted low on memory"}}},
		{"succeeded without a container", &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
			ProbeVerdict{Ended: true, Findings: []string{"the probe pod ended and its container has no result"}}},
		{"another container's result", func() *corev1.Pod { p := ended(0, good); p.Status.ContainerStatuses[0].Name = "sidecar"; return p }(),
			ProbeVerdict{Ended: true, Findings: []string{"the probe pod ended and its container has no result"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, ReadProbe(tc.pod, addresses)); d != "" {
				t.Error(d)
			}
		})
	}
	if v := ReadProbe(ended(0, good), nil); v.Enforced || len(v.Findings) != 1 {
		t.Errorf("without addresses: %+v", v)
	}
}

func TestProbePod(t *testing.T) {
	p, err := Probe("shop", "run-1", "busybox", []string{"10.0.0.5:5432", "[fd00::1]:443"})
	if err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers[0]
	if got := c.Command[5:]; !slices.Equal(got, []string{"10.0.0.5", "5432", "fd00::1", "443"}) {
		t.Errorf("arguments %q", got)
	}
	if strings.Contains(c.Command[2], "10.0.0.5") {
		t.Error("an address is part of the script")
	}
	if p.Spec.HostNetwork || *p.Spec.AutomountServiceAccountToken || !*p.Spec.SecurityContext.RunAsNonRoot || *c.SecurityContext.AllowPrivilegeEscalation || p.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("the probe pod has more rights than it needs: %+v", p.Spec)
	}
	for _, bad := range []string{"10.0.0.5", ":443", "host:", "-e:443", "host:-l", "a:b:c"} {
		if _, err := Probe("shop", "run-1", "busybox", []string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzReadProbe: no message is read as enforced unless every address is reported closed, none open, and the control worked.
func FuzzReadProbe(f *testing.F) {
	f.Add(good, int32(0))
	f.Add("open 10.0.0.5 5432\n"+good, int32(0))
	f.Add("end", int32(1))
	f.Fuzz(func(t *testing.T, message string, exit int32) {
		v := ReadProbe(ended(exit, message), addresses)
		if !v.Ended || v.Enforced != (len(v.Findings) == 0) {
			t.Fatalf("%+v", v)
		}
		if !v.Enforced {
			return
		}
		if exit != 0 || !strings.Contains(message, "control ok "+control) || !strings.Contains(message, "end") {
			t.Errorf("exit %d, %q is read as enforced", exit, message)
		}
		for _, a := range addresses {
			host, port, _ := net.SplitHostPort(a)
			if !strings.Contains(message, "closed "+host+" "+port) || slices.Contains(strings.Split(message, "\n"), "open "+host+" "+port) {
				t.Errorf("%q is read as enforced, but for %s", message, a)
			}
		}
	})
}
