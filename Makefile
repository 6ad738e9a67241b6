# Fallback Chain. `make help` lists the targets; `make drill` and `make test` are all that a newcomer needs.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools
BIN := $(CURDIR)/bin
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(TOOLS)/bin/golangci-lint-$(GOLANGCI_VERSION)
TEST_TIMEOUT ?= 35m

export CGO_ENABLED := 0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

.PHONY: build
build: $(BIN)/fallback ## build the CLI into bin/

.PHONY: $(BIN)/fallback
$(BIN)/fallback:
	@mkdir -p $(BIN)
	@go build -trimpath -o $@ ./cmd/fallback

.PHONY: tools
tools: build ## build the local stack's programs (Kubernetes from source: 10 to 20 minutes the first time, then nothing)
	@$(BIN)/fallback local build --tests

.PHONY: judges
judges: ## install the tools that judge the state machine (asl-validator, cfn-lint, moto), pinned
	@bash statemachine/judges/setup.sh

.PHONY: drill
drill: tools ## the whole story on a real local control plane: break, recover, drill
	@$(BIN)/fallback demo

.PHONY: test
test: tools judges ## every test, on the real local stack where it matters
	@go test -timeout $(TEST_TIMEOUT) -p 3 ./...

.PHONY: verify
verify: generate-check lint ## generated files up to date, lint, import rules, vet
	@go vet ./...
	@go mod tidy -diff
	@$(BIN)/fallback graph prove

.PHONY: generate
generate: ## state machine definitions, diagrams and the plan's JSON Schema
	@go run ./statemachine/generate
	@go run ./shared/plan/schemagen

.PHONY: generate-check
generate-check: build
	@go run ./statemachine/generate -check
	@go run ./shared/plan/schemagen -check

.PHONY: lint
lint: $(GOLANGCI)
	@$(GOLANGCI) run ./...

$(GOLANGCI):
	@echo "installing golangci-lint $(GOLANGCI_VERSION) (compiled from source: some minutes, once)"
	@GOBIN=$(TOOLS)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TOOLS)/bin/golangci-lint $@

.PHONY: bench
bench: tools ## speed: prove and render; recover and drill beside the cluster's own time; verify and restore beside Velero's commands
	@go test -run '^$$' -bench . -benchtime 1x ./statemachine/... ./shared/...
	@$(BIN)/fallback bench

.PHONY: clean
clean: ## remove what make built here (the programs of the local stack stay in the user's cache)
	@rm -rf $(BIN) $(TOOLS)

# ---- Lambda functions -------------------------------------------------------------------------------------------------
# `sam build` calls build-<name in template.yaml> with ARTIFACTS_DIR for each function, whose template says BuildMethod
# makefile: a bootstrap without cgo, paths, symbols or build ID, so that the same source gives the same bytes.
# lambda.norpc leaves out the RPC mode of the retired go1.x runtime.
FUNCTIONS := $(notdir $(patsubst %/lambda/,%,$(dir $(wildcard functions/*/lambda/main.go))))
LAMBDA_FLAGS := -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w -buildid='

FUNCTION_ARCH ?= arm64

build-%Function:
	@: "$${ARTIFACTS_DIR:?is set by sam build: the directory that takes the bootstrap}"
	@GOOS=linux GOARCH=$(FUNCTION_ARCH) go build $(LAMBDA_FLAGS) -o "$$ARTIFACTS_DIR/bootstrap" "./functions/$$(tr A-Z a-z <<<'$*')/lambda"

.PHONY: functions
functions: ## build every Lambda function into build/functions/ and print the sizes
	@for f in $(FUNCTIONS); do \
		mkdir -p build/functions/$$f; \
		GOOS=linux GOARCH=$(FUNCTION_ARCH) go build $(LAMBDA_FLAGS) -o build/functions/$$f/bootstrap ./functions/$$f/lambda; \
	done
	@ls -l --block-size=K build/functions/*/bootstrap | awk '{print $$5, $$NF}'
