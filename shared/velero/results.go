package velero

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Results are the warnings and errors of a restore by item
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/results/result.go).
type Results struct {
	Errors   []string `json:"errors,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// ResultsPrefix and ResultsKey are where the results of a restore are in the bucket, relative to the location
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store_layout.go).
func ResultsPrefix(restore string) string { return "restores/" + restore + "/" }

// ResultsKey is the key of the results.
func ResultsKey(restore string) string {
	return ResultsPrefix(restore) + "restore-" + restore + "-results.gz"
}

// resultsLimit is the most that is read of a results file: 5,000 items of 1 KiB each are a third of it.
const resultsLimit = 16 << 20

type result struct {
	Velero     []string            `json:"velero,omitempty"`
	Cluster    []string            `json:"cluster,omitempty"`
	Namespaces map[string][]string `json:"namespaces,omitempty"`
}

func (r result) lines() []string {
	out := slices.Concat(r.Velero, r.Cluster)
	for _, ns := range slices.Sorted(maps.Keys(r.Namespaces)) {
		out = append(out, r.Namespaces[ns]...)
	}
	return out
}

// ReadResults reads a results file: gzip-compressed JSON of at most 16 MiB.
func ReadResults(r io.Reader) (Results, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return Results{}, fmt.Errorf("the results are not gzip: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(z, resultsLimit+1))
	switch {
	case err != nil:
		return Results{}, fmt.Errorf("read the results: %w", err)
	case len(data) > resultsLimit:
		return Results{}, fmt.Errorf("the results have more than %d bytes", resultsLimit)
	}
	var both struct{ Errors, Warnings result }
	if err := json.Unmarshal(data, &both); err != nil {
		return Results{}, fmt.Errorf("the results are not JSON: %w", err)
	}
	return Results{Errors: both.Errors.lines(), Warnings: both.Warnings.lines()}, nil
}
