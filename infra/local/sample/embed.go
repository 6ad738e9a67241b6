package sample

import _ "embed"

//go:embed manifests/shop.yaml
var shopYAML []byte

//go:embed manifests/seed.sql
var seedSQL string

//go:embed manifests/plan.yaml
var planYAML string

//go:embed README.md
var readme []byte
