package machine_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

func flowResources() []schema.GroupVersionResource {
	g := schema.GroupVersion{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}
	return []schema.GroupVersionResource{g.WithResource("prioritylevelconfigurations"), g.WithResource("flowschemas")}
}

// flow is a priority level without a seat, and what sends a group's requests there
// (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/). The API server still takes one request when none is under
// way there, and answers the others with 429.
func flow(group string) []map[string]any {
	all := []any{"*"}
	return []map[string]any{
		{"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": map[string]any{"name": "no-seat"},
			"spec": map[string]any{"type": "Limited", "limited": map[string]any{"nominalConcurrencyShares": int64(0), "borrowingLimitPercent": int64(0),
				"limitResponse": map[string]any{"type": "Reject"}}}},
		{"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": map[string]any{"name": "no-seat"},
			"spec": map[string]any{"matchingPrecedence": int64(2), "priorityLevelConfiguration": map[string]any{"name": "no-seat"},
				"rules": []any{map[string]any{
					"subjects":         []any{map[string]any{"kind": "Group", "group": map[string]any{"name": group}}},
					"resourceRules":    []any{map[string]any{"verbs": all, "apiGroups": all, "resources": all, "clusterScope": true, "namespaces": all}},
					"nonResourceRules": []any{map[string]any{"verbs": all, "nonResourceURLs": all}}}}}},
	}
}

// throttledByAPIServer: in mid run the API server gives a function no seat, and answers it with 429; when it has one again, the run goes on.
func (b *bed) throttledByAPIServer(t *testing.T) {
	reached, full := make(chan struct{}), make(chan struct{})
	b.on(t, run.Evaluate, "assess", "assess", func(run.Run) awstest.Mishap {
		close(reached)
		select {
		case <-full:
		case <-t.Context().Done():
		}
		return awstest.None
	})
	execution := b.startByHand(t, run.Evaluate)
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatal("assess was not invoked")
	}
	// The test's own context is over when the cleanup runs.
	t.Cleanup(func() { b.lift(t, context.Background()) })
	uid := ""
	for i, gvr := range flowResources() {
		made, err := b.client.Dynamic.Resource(gvr).Create(t.Context(), &unstructured.Unstructured{Object: flow(kubernetes.Group("assess"))[i]}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			uid = string(made.GetUID())
		}
	}
	token := presigned{credentials: b.keys["assess"], cluster: eksName, action: "GetCallerIdentity", region: region, at: time.Now()}.token(t)
	b.until(t, "the level is in force", func() bool { return b.level(t, token) == uid })
	release := b.occupy(t, token)
	defer release()
	b.until(t, "the API server throttles", func() bool { return b.ask(t, token) == http.StatusTooManyRequests })
	before := len(b.throttled(t))
	close(full)
	b.until(t, "assess is throttled", func() bool { return len(b.throttled(t)) > before })
	b.lift(t, t.Context())
	release()
	b.until(t, "the API server answers again", func() bool { return b.ask(t, token) == http.StatusOK })
	r := b.ends(t, execution, "Evaluated")
	if r.Outcome != run.Evaluated || len(r.Signals) == 0 || len(r.Faults) != 0 {
		t.Errorf("the report: %s, %v, %v", r.Outcome, r.Signals, r.Faults)
	}
	t.Logf("the API server refused assess %q", b.throttled(t)[before:])
	b.nothingLeft(t, r.Run)
}

// level is the UID of the priority level that the API server has requests with a token in.
func (b *bed) level(t *testing.T, token string) string {
	t.Helper()
	client, host := b.bearer(t, token)
	res, err := client.Get(host + "/apis")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.Header.Get("X-Kubernetes-PF-PriorityLevel-UID")
}

// occupy keeps a request under way until release is called: one whose body does not come. The API server may refuse it as it refuses
// others, or give it up; then it is sent again.
func (b *bed) occupy(t *testing.T, token string) (release func()) {
	t.Helper()
	client, host := b.bearer(t, token)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			body, never := io.Pipe()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, host+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			if res, err := client.Do(r); err == nil {
				res.Body.Close()
			}
			_ = never.Close()
		}
	}()
	return func() { cancel(); <-done }
}

// lift takes the priority level and its schema away.
func (b *bed) lift(t *testing.T, ctx context.Context) { //nolint:revive // a cleanup's context is none of the test's
	t.Helper()
	for _, gvr := range flowResources() {
		if err := b.client.Dynamic.Resource(gvr).Delete(ctx, "no-seat", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s: %v", gvr.Resource, err)
		}
	}
}

// until asks until something is so, for a minute at most.
func (b *bed) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not yet: %s", what)
		}
	}
}

// throttled are the requests of the function assess that the API server answered with 429, as its audit log says; the test's own
// requests, with its token, are of another user agent.
func (b *bed) throttled(t *testing.T) (requests []string) {
	t.Helper()
	es, err := audit.Read(b.stack.AuditLog(), audit.Filter{UserAgent: "fallback-chain"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.User.Username == "function:assess" && e.Response.Code == http.StatusTooManyRequests {
			requests = append(requests, e.UserAgent+" "+e.Verb+" "+e.URI)
		}
	}
	return requests
}
