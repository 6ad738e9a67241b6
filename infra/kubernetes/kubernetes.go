// Package kubernetes holds what Fallback Chain needs in a cluster: the namespace of the leases, one role for each function, bound to the
// function's group, and the admission policy that keeps the functions to their places. Operators apply the directory with kustomize;
// the local stack applies the same files.
package kubernetes

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed *.yaml
var files embed.FS

// groupPrefix is that of the functions' groups. On EKS an access entry gives a function's role its group.
const groupPrefix = "fallback-chain:"

// Places is the namespace whose annotations say where the functions may change things.
const Places = "kube-system"

// Place is the annotation of Places that says what a namespace is: workload, driver or velero.
func Place(namespace string) string { return "places.fallbackchain.io/" + namespace }

// Group is the Kubernetes group of a function.
func Group(function string) string { return groupPrefix + function }

// FunctionOf is the function that one of a user's groups belongs to; empty: none.
func FunctionOf(groups []string) string {
	for _, g := range groups {
		if f, ok := strings.CutPrefix(g, groupPrefix); ok {
			return f
		}
	}
	return ""
}

// Functions are those that reach clusters, sorted: the other functions have no group. A test compares them with the code.
func Functions() []string {
	return []string{
		"assess", "backup", "controlplane", "degraded", "gate", "janitor", "lease", "quarantine", "restore", "rollback", "rollbackpoint",
		"teardown", "volumesync",
	}
}

// Documents are the YAML documents that the kustomization lists, in its order.
func Documents() ([][]byte, error) {
	data, err := files.ReadFile("kustomization.yaml")
	if err != nil {
		return nil, err
	}
	var k struct{ Resources []string }
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("kustomization.yaml: %w", err)
	}
	var out [][]byte
	for _, name := range k.Resources {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("kustomization.yaml: %w", err)
		}
		docs, err := split(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, docs...)
	}
	return out, nil
}

func split(data []byte) ([][]byte, error) {
	var out [][]byte
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var content map[string]any
		if err := yaml.Unmarshal(doc, &content); err != nil {
			return nil, err
		}
		if len(content) > 0 { // not only a comment
			out = append(out, slices.Clone(doc))
		}
	}
}
