package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// Access is one verb on one resource that a run needs.
type Access struct {
	Verb     string
	Group    string
	Resource string
	// Subresource as in pods/portforward.
	Subresource string
	// Namespace is empty for what is cluster-scoped.
	Namespace string
	// Name is set where the run needs one object only; a role may then name it.
	Name string
	// Path is set instead of a resource for what is none, as /readyz.
	Path string
}

// resource is the resource as a role names it: "pods/portforward", "statefulsets.apps".
func (a Access) resource() string {
	s := schema.GroupResource{Group: a.Group, Resource: a.Resource}.String()
	if a.Subresource != "" {
		s += "/" + a.Subresource
	}
	return s
}

func (a Access) String() string {
	switch {
	case a.Path != "":
		return a.Verb + " " + a.Path
	case a.Namespace == "":
		return a.Verb + " " + a.named()
	default:
		return a.Verb + " " + a.named() + " in namespace " + a.Namespace
	}
}

func (a Access) named() string {
	if a.Name == "" {
		return a.resource()
	}
	return a.resource() + " " + a.Name
}

// review is the question as the API server takes it
// (https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/).
func (a Access) review() *authorizationv1.SelfSubjectAccessReview {
	r := &authorizationv1.SelfSubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"}}
	if a.Path != "" {
		r.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return r
	}
	r.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: "*",
		Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	return r
}

var (
	accessReviews  = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
	subjectReviews = schema.GroupVersionResource{Group: "authentication.k8s.io", Version: "v1", Resource: "selfsubjectreviews"}
)

// Missing are the permissions that a run needs and its user does not have.
type Missing struct {
	// User is what the API server calls the user.
	User string
	Mode string
	List []Access
}

func (m *Missing) Error() string {
	lines := make([]string, len(m.List))
	for i, a := range m.List {
		lines[i] = a.String()
	}
	return fmt.Sprintf("user %s may not: %s; a run in mode %s needs it, nothing was begun", m.User, strings.Join(lines, ", "), m.Mode)
}

// Needs lists every permission that a run may come to use, on whatever path it takes: those that it needs, and those that it goes on
// without.
func (r *Runner) Needs(ctx context.Context, q Request) ([]Access, error) {
	in, p, c, err := r.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	need, wished, err := r.needed(ctx, c, p, in)
	return distinct(slices.Concat(need, wished)), err
}

// permitted asks for everything that a run needs.
func (r *Runner) permitted(ctx context.Context, c *cluster.Client, p *plan.Plan, in run.Run) error {
	// A user that may not ask for its permissions is nobody (system:basic-user grants it to everybody who is known): that is said
	// before anything else is looked up.
	first, cancel := context.WithTimeout(ctx, firstContact)
	defer cancel()
	if _, err := may(first, c, Access{Verb: "get", Path: "/version"}); err != nil {
		return refused(c, "ask which permissions this user has", err)
	}
	need, _, err := r.needed(ctx, c, p, in)
	if err != nil {
		return err
	}
	return preflight(ctx, c, string(in.Mode), need)
}

// refused says that it was the credentials, where it was.
func refused(c *cluster.Client, op string, err error) error {
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return fmt.Errorf("cluster %s refused the credentials of the kubeconfig: %w", c.Config.Host, err)
	}
	return fmt.Errorf("cluster %s: %s: %w", c.Config.Host, op, err)
}

// asked is how many questions are under way at once.
const asked = 8

// preflight asks the API server for every permission that the run needs, and says all that are missing at once. What could not be
// asked is not taken for allowed.
func preflight(ctx context.Context, c *cluster.Client, mode string, need []Access) error {
	ctx, cancel := context.WithTimeout(ctx, firstContact)
	defer cancel()
	// A client of its own: some dozens of questions at once would use up what the run may send in its first second.
	cfg := rest.CopyConfig(c.Config)
	cfg.QPS, cfg.Burst = -1, 0
	asker, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	covered, err := byKind(ctx, asker, need)
	if err != nil {
		return err
	}
	need = slices.DeleteFunc(slices.Clone(need), func(a Access) bool { return a.Name != "" && covered[a.kind()] })
	denied, err := ask(ctx, asker, need)
	if err != nil {
		return err
	}
	m := &Missing{Mode: mode}
	for i, no := range denied {
		if no {
			m.List = append(m.List, need[i])
		}
	}
	if len(m.List) == 0 {
		return nil
	}
	m.User = whoAmI(ctx, asker)
	return m
}

// fewNames is up to how many objects of a kind are asked about one by one.
const fewNames = 8

// kind is the access to every object of the kind.
func (a Access) kind() Access {
	a.Name = ""
	return a
}

// byKind asks about whole kinds where a run needs many objects of one, and tells which are allowed: a role that names no objects allows
// them all (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources). An inventory of thousands of
// objects would be thousands of questions. Where the answer is no, a role may still name each of them.
func byKind(ctx context.Context, asker *cluster.Client, need []Access) (map[Access]bool, error) {
	names := map[Access]int{}
	for _, a := range need {
		if a.Name != "" {
			names[a.kind()]++
		}
	}
	var kinds []Access
	for a, n := range names {
		if n > fewNames {
			kinds = append(kinds, a)
		}
	}
	denied, err := ask(ctx, asker, kinds)
	if err != nil {
		return nil, err
	}
	out := map[Access]bool{}
	for i, a := range kinds {
		out[a] = !denied[i]
	}
	return out, nil
}

// ask asks several questions at once.
func ask(ctx context.Context, asker *cluster.Client, list []Access) (denied []bool, err error) {
	denied = make([]bool, len(list))
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(asked, len(list)) {
		wg.Go(func() {
			for i := range next {
				denied[i], errs[i] = may(ctx, asker, list[i])
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, fmt.Errorf("ask the API server whether this user may %s: %w", list[i], errs[i])
	}
	return denied, nil
}

// may asks one question; denied is the answer.
func may(ctx context.Context, c *cluster.Client, a Access) (denied bool, err error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(a.review())
	if err != nil {
		return true, err
	}
	u, err := c.Dynamic.Resource(accessReviews).Create(ctx, &unstructured.Unstructured{Object: m}, metav1.CreateOptions{})
	if err != nil {
		return true, err
	}
	r, err := cluster.Decode[authorizationv1.SelfSubjectAccessReview](u)
	if err != nil {
		return true, err
	}
	if !r.Status.Allowed && r.Status.EvaluationError != "" {
		return true, errors.New(r.Status.EvaluationError)
	}
	return !r.Status.Allowed, nil
}

// whoAmI is the user's name as the API server sees it; a server that does not say (before Kubernetes 1.28) leaves it to the reader.
func whoAmI(ctx context.Context, c *cluster.Client) string {
	u, err := c.Dynamic.Resource(subjectReviews).Create(ctx,
		&unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}}, metav1.CreateOptions{})
	if err != nil {
		return "of this kubeconfig"
	}
	r, err := cluster.Decode[authenticationv1.SelfSubjectReview](u)
	if err != nil || r.Status.UserInfo.Username == "" {
		return "of this kubeconfig"
	}
	return r.Status.UserInfo.Username
}
