// Package authn gives a local API server the authenticator that an EKS cluster has: tokens are presigned calls of
// sts:GetCallerIdentity, checked by aws-iam-authenticator's own verifier, and access entries map IAM roles to users and groups.
package authn

import (
	"encoding/json"
	"net/http"
	"sync"

	"sigs.k8s.io/aws-iam-authenticator/pkg/token"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Verifier tells whose a token is; token.NewVerifier makes one.
type Verifier interface {
	Verify(token string) (*token.Identity, error)
}

// Entry is an access entry (https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html): who a role is in the cluster.
type Entry struct {
	User   string
	Groups []string
}

// Review is a token that was looked at.
type Review struct {
	// Role is the ARN of the caller's role; empty where the token said nothing that holds.
	Role string
	Entry
	// Refused says why the token is not accepted; empty: it is.
	Refused string
}

// Webhook answers TokenReviews (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication).
type Webhook struct {
	Verifier Verifier
	// Entries are the cluster's access entries, by the role's ARN.
	Entries map[string]Entry

	mu      sync.Mutex
	reviews []Review
	last    map[string]string // by token: the role
	revoked map[string]bool
}

// Reviews are those so far.
func (w *Webhook) Reviews() []Review {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Review(nil), w.reviews...)
}

// Expire makes every token that was accepted so far one that has expired.
func (w *Webhook) Expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = map[string]bool{}
	for t := range w.last {
		w.revoked[t] = true
	}
}

// ServeHTTP answers one TokenReview.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var in authenticationv1.TokenReview
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 1<<20)).Decode(&in); err != nil {
		http.Error(rw, "expected a TokenReview: "+err.Error(), http.StatusBadRequest)
		return
	}
	got := w.review(in.Spec.Token)
	out := authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}}
	if out.Status.Error = got.Refused; got.Refused == "" {
		out.Status.Authenticated = true
		out.Status.User = authenticationv1.UserInfo{Username: got.User, Groups: got.Groups}
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(out)
}

func (w *Webhook) review(bearer string) (got Review) {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.reviews = append(w.reviews, got); got.Refused == "" {
			if w.last == nil {
				w.last = map[string]string{}
			}
			w.last[bearer] = got.Role
		}
	}()
	w.mu.Lock()
	revoked := w.revoked[bearer]
	w.mu.Unlock()
	if revoked {
		return Review{Refused: "the token has expired"}
	}
	id, err := w.Verifier.Verify(bearer)
	if err != nil {
		return Review{Refused: err.Error()}
	}
	e, ok := w.Entries[id.CanonicalARN]
	if !ok {
		return Review{Role: id.CanonicalARN, Refused: "no access entry for " + id.CanonicalARN}
	}
	return Review{Role: id.CanonicalARN, Entry: e}
}
