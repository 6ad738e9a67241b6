// Package sample puts a workload on the local stack: a shop with three PostgreSQL servers in a StatefulSet, rows to count,
// snapshots to go back to, backups by Velero, an inventory, and a plan for each. See README.md, which is copied beside the plan.
package sample

import (
	"path/filepath"

	"fallbackchain.io/fallback/infra/local/stack"
)

// Names of the sample.
const (
	Namespace   = "shop"
	StatefulSet = "pg"
	// Replicas is the number of servers.
	Replicas = 3
	// Database is the name of the database in each.
	Database = "shop"
	// AppSecret and ReaderSecret hold a username and a password: of the owner, and of the role that may only read.
	AppSecret    = "pg-app"
	ReaderSecret = "pg-reader"
	// AppLabel with the value AppName is on everything of the shop.
	AppLabel = "app.kubernetes.io/name"
	AppName  = "shop"
	// SnapshotLabel with the value SnapshotValue is on the snapshots that are taken at deployment.
	SnapshotLabel = "shop.fallbackchain.io/snapshot"
	SnapshotValue = "baseline"
	// Port of each server in its pod.
	Port = 5432
	// Canary is the value of the table canary, which must come back byte by byte.
	Canary = "canary: Zürich, 東京\t0123456789 'quoted' \\ done"
	// Schedule is the name of the Velero Schedule that backs the shop up.
	Schedule = "shop"
	// Orders and Customers are the rows each server is seeded with.
	Orders    = 1000
	Customers = 200
)

// Files below the directory of a deployment.
const (
	PlanFile = "plan.yaml"
	// VeleroPlanFile is the plan whose inventory is the shop's Velero backups.
	VeleroPlanFile = "plan-velero.yaml"
	InventoryDir   = "inventory"
	ReadmeFile     = "README.md"
)

// Options of a deployment.
type Options struct {
	// Kubeconfig of an administrator.
	Kubeconfig string
	// Dir takes the plan, the inventory and the README; it is made when missing.
	Dir string
	// StackDir is the state directory of the local stack. May be empty: then there is no plan for the Velero backups, and Reset does
	// not end the faults of the CSI driver.
	StackDir string
	// Progress is called with what is done, in words for people; nil: nothing.
	Progress func(string)
}

func (o Options) say(what string) {
	if o.Progress != nil {
		o.Progress(what)
	}
}

func (o Options) layout() stack.Layout { return stack.Layout{Dir: o.StackDir} }

// DefaultDir is where the sample of a stack is put when nobody says otherwise.
func DefaultDir(stackDir string) string { return filepath.Join(stackDir, "shop") }
