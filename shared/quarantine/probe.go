package quarantine

import (
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProbeName is the name of a run's probe pod.
func ProbeName(runID string) string { return "probe-" + runID }

// probeSeconds bounds the probe pod's life on its node, image pull included.
const probeSeconds = 120

// control is the name that must resolve: without it a probe that reaches nothing proves nothing, for the pod may have no network.
const control = "kubernetes.default.svc.cluster.local"

// script writes one line for each address and for the control, and "end" when it came so far. Addresses are arguments, never a
// part of the script. A name that does not resolve is not "closed": nothing was tried.
const script = `out=/dev/termination-log
n=0
until nslookup "$1" >/dev/null 2>&1; do
  n=$((n+1)); if [ "$n" -ge 10 ]; then echo "control failed $1" >>"$out"; echo end >>"$out"; exit 0; fi
  sleep 1
done
echo "control ok $1" >>"$out"
shift
while [ "$#" -gt 1 ]; do
  if nc -z -w 3 "$1" "$2" >/dev/null 2>&1; then echo "open $1 $2" >>"$out"; else echo "closed $1 $2" >>"$out"; fi
  shift 2
done
echo end >>"$out"`

// Probe builds the pod that tries to get out. It needs no service account and no privilege.
func Probe(namespace, runID, image string, addresses []string) (*corev1.Pod, error) {
	args := []string{"sh", "-c", script, "probe", control}
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(port, "-") {
			return nil, fmt.Errorf("spec.quarantine.probes: %q is not host:port", a)
		}
		args = append(args, host, port)
	}
	no, yes, nobody, seconds, grace := false, true, int64(65534), int64(probeSeconds), int64(0)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: ProbeName(runID)},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &seconds, TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &nobody, RunAsGroup: &nobody,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "probe", Image: image, Command: args,
				TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}, nil
}

// ProbeVerdict is what a probe pod proved.
type ProbeVerdict struct {
	// Ended is false while the pod may still say more.
	Ended bool
	// Enforced is true only when every address was tried and refused while the control succeeded.
	Enforced bool
	// Findings say why it is not enforced, or what could not be told.
	Findings []string
}

// ReadProbe judges the probe pod by its container's exit code and termination message
// (https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/). Whatever is missing or unknown is
// not enforced.
func ReadProbe(p *corev1.Pod, addresses []string) ProbeVerdict {
	not := func(format string, args ...any) ProbeVerdict {
		return ProbeVerdict{Ended: true, Findings: []string{fmt.Sprintf(format, args...)}}
	}
	if len(addresses) == 0 {
		return not("the plan names no address in spec.quarantine.probes: nothing was tried")
	}
	var end *corev1.ContainerStateTerminated
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == "probe" {
			end = c.State.Terminated
		}
	}
	switch {
	case end == nil && p.Status.Phase == corev1.PodFailed:
		return not("the probe pod failed: %s %s", p.Status.Reason, p.Status.Message)
	case end == nil && p.Status.Phase == corev1.PodSucceeded:
		return not("the probe pod ended and its container has no result")
	case end == nil:
		return ProbeVerdict{}
	case end.ExitCode != 0:
		return not("the probe ended with exit code %d: %s", end.ExitCode, strings.TrimSpace(end.Reason+" "+end.Message))
	}
	lines := strings.Split(strings.TrimSpace(end.Message), "\n")
	if !slices.Contains(lines, "end") {
		return not("the probe's result is incomplete: %q", end.Message)
	}
	v := ProbeVerdict{Ended: true, Enforced: true}
	find := func(format string, args ...any) {
		v.Enforced = false
		v.Findings = append(v.Findings, fmt.Sprintf(format, args...))
	}
	if !slices.Contains(lines, "control ok "+control) {
		find("the probe's control failed: %s did not resolve, so addresses that are not reached prove nothing", control)
	}
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a)
		switch is := host + " " + port; {
		case slices.Contains(lines, "open "+is):
			find("a pod inside reached %s", a)
		case !slices.Contains(lines, "closed "+is):
			find("%s was not tried", a)
		}
	}
	return v
}
