package cluster

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"fallbackchain.io/fallback/shared/fault"
)

// Readyz is what the API server says of itself.
type Readyz struct {
	Ready bool
	// Failed are the names of the checks that are not ok, e.g. "etcd", "poststarthook/rbac/bootstrap-roles".
	Failed []string
}

// Readyz reads /readyz?verbose (https://kubernetes.io/docs/reference/using-api/health-checks/): one line a check,
// "[+]name ok" or "[-]name failed: reason withheld". An error means that the API server could not be asked.
func (c *Client) Readyz(ctx context.Context) (Readyz, error) {
	code, body, err := c.get(ctx, "/readyz?verbose")
	if err != nil {
		return Readyz{}, err
	}
	switch code {
	case http.StatusOK, http.StatusInternalServerError, http.StatusServiceUnavailable:
		return Readyz{Ready: code == http.StatusOK, Failed: failedChecks(body)}, nil
	case http.StatusForbidden:
		// A server that has not read its roles yet refuses even this, which every known user may read: it is not ready.
		return Readyz{}, fault.New(fault.Unavailable, "ask the API server whether it is ready", answered(code, "/readyz"))
	default:
		return Readyz{}, answered(code, "/readyz")
	}
}

func failedChecks(body []byte) []string {
	var failed []string
	sc := bufio.NewScanner(bytes.NewReader(body))
	for sc.Scan() {
		if rest, ok := strings.CutPrefix(sc.Text(), "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			failed = append(failed, name)
		}
	}
	return failed
}

// readLimit is the most that is read of a small answer.
const readLimit = 1 << 20

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, readLimit)) }

func mustRef(path string) *url.URL {
	p, query, _ := strings.Cut(path, "?")
	return &url.URL{Path: p, RawQuery: query}
}
