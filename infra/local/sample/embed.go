package sample

import _ "embed"

//go:embed manifests/shop.yaml
var shopYAML []byte

//go:embed manifests/seed.sql
var seedSQL string

//go:embed manifests/plan.yaml
var planYAML string

//go:embed manifests/inventory-bundle.yaml
var bundleYAML string

//go:embed manifests/inventory-velero.yaml
var veleroYAML string

//go:embed manifests/schedule.yaml
var scheduleYAML []byte

//go:embed README.md
var readme []byte
