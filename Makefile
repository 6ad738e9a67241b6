# Fallback Chain. `make help` lists the targets; `make drill` and `make test` are all that a newcomer needs.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools
BIN := $(CURDIR)/bin
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(TOOLS)/bin/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK_VERSION := v1.7.0
GOVULNCHECK := $(TOOLS)/bin/govulncheck-$(GOVULNCHECK_VERSION)
TEST_TIMEOUT ?= 35m

export CGO_ENABLED := 0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

.PHONY: build
build: $(BIN)/fallback functions ## build the CLI into bin/ and the Lambda functions into build/functions/

.PHONY: $(BIN)/fallback
$(BIN)/fallback:
	@mkdir -p $(BIN)
	@go build -trimpath -o $@ ./cmd/fallback

.PHONY: tools
tools: $(BIN)/fallback ## build the local stack's programs (Kubernetes from source: 10 to 20 minutes the first time, then nothing)
	@$(BIN)/fallback local build --tests

.PHONY: judges
judges: $(GOVULNCHECK) ## install the tools that judge the state machine and the templates, pinned
	@bash statemachine/judges/setup.sh

.PHONY: drill
drill: tools ## the whole story on a real local control plane: break, recover, drill
	@$(BIN)/fallback demo

.PHONY: test
test: tools judges ## every test, on the real local stack where it matters
	@# Four packages at once on two cores: those on a local stack wait more than they compute.
	@go test -timeout $(TEST_TIMEOUT) -p 4 ./...

.PHONY: verify
verify: generate-check lint templates sam-build vulncheck ## generated files up to date, lint, import rules, vet, templates, sam build, vulnerabilities
	@go vet ./...
	@go mod tidy -diff
	@$(BIN)/fallback graph prove

.PHONY: generate
generate: ## state machine definitions, diagrams and the plan's JSON Schema
	@go run ./statemachine/generate
	@go run ./shared/plan/schemagen

.PHONY: generate-check
generate-check: $(BIN)/fallback
	@go run ./statemachine/generate -check
	@go run ./shared/plan/schemagen -check

.PHONY: lint
lint: $(GOLANGCI)
	@$(GOLANGCI) run ./...

$(GOLANGCI):
	@echo "installing golangci-lint $(GOLANGCI_VERSION) (compiled from source: some minutes, once)"
	@GOBIN=$(TOOLS)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TOOLS)/bin/golangci-lint $@

$(GOVULNCHECK):
	@echo "installing govulncheck $(GOVULNCHECK_VERSION)"
	@GOBIN=$(TOOLS)/bin go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(TOOLS)/bin/govulncheck $@

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## known vulnerabilities that the code can reach; needs their database (VULNCHECK=required fails without it)
	@bash statemachine/judges/vulncheck.sh $(GOVULNCHECK) ./cmd/... ./functions/...

# SAM CLI keeps a file for itself, and would report its use.
JUDGES := $(TOOLS)/judges
SAM := SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR=$(JUDGES)/sam-home AWS_DEFAULT_REGION=us-east-1 $(JUDGES)/sam/bin/sam
TEMPLATES := template.yaml $(wildcard infra/aws/*.yaml infra/kubernetes/eks/*.yaml) infra/kubernetes/velero/manifest-key.yaml

MACHINES := $(wildcard statemachine/*.asl.json infra/aws/*.asl.json)

.PHONY: templates
templates: judges ## CloudFormation templates and state machines, judged by SAM, cfn-lint, checkov and asl-validator
	@judged=build/.templates-judged; key=$$(sha256sum $(TEMPLATES) $(MACHINES) .checkov.yaml samconfig.toml Makefile $(JUDGES)/*stamp | sha256sum); \
	if [[ ! -f $$judged || $$(<$$judged) != "$$key" ]]; then \
		said=$$($(SAM) validate --lint 2>&1) || { echo "$$said" >&2; exit 1; }; \
		$(JUDGES)/venv/bin/cfn-lint $(TEMPLATES); \
		$(JUDGES)/checkov/bin/checkov --config-file .checkov.yaml $(TEMPLATES:%=-f %); \
		$(JUDGES)/npm/node_modules/.bin/asl-validator $(MACHINES:%=--json-path %) >/dev/null; \
		mkdir -p build; echo "$$key" >$$judged; \
	fi

.PHONY: bench
bench: tools ## speed: prove and render; recover and drill beside the cluster's own time; verify and restore beside Velero's commands; the functions' binaries
	@go test -run '^$$' -bench . -benchtime 1x ./statemachine/... ./shared/...
	@go run ./infra/aws/binaries/measure
	@$(BIN)/fallback bench

.PHONY: clean
clean: ## remove what make built here (the programs of the local stack stay in the user's cache)
	@rm -rf $(BIN) $(TOOLS) build .aws-sam

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

# Linking all functions takes half a minute, and Go keeps no linked program; so both builds remember what they were made from.
SOURCES = (go version; echo '$(FUNCTION_ARCH) $(LAMBDA_FLAGS)'; find functions shared events statemachine template.yaml samconfig.toml Makefile go.mod go.sum \
	-type f -not -name '*_test.go' -not -path '*/testdata/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum

FUNCTIONS_DIR := $(CURDIR)/build/functions

.PHONY: functions
functions: ## build every Lambda function into build/functions/ and print the sizes
	@made=$(FUNCTIONS_DIR)/.made-from; key=$$($(SOURCES)); if [[ ! -f $$made || $$(<$$made) != "$$key" ]]; then \
		rm -f $$made; \
		for f in $(FUNCTIONS); do \
			mkdir -p $(FUNCTIONS_DIR)/$$f; \
			ARTIFACTS_DIR=$(FUNCTIONS_DIR)/$$f $(MAKE) --no-print-directory build-$${f^}Function; \
		done; \
		echo "$$key" >$$made; \
	fi
	@cd $(FUNCTIONS_DIR) && ls -l --block-size=K */bootstrap | awk '{print $$5, $$NF}'

.PHONY: sam-build
sam-build: judges ## what `sam build` makes of the template, in .aws-sam/, and no larger than infra/aws/binaries/baseline.json allows
	@made=.aws-sam/made-from; key=$$($(SOURCES)); if [[ ! -f $$made || $$(<$$made) != "$$key" ]]; then \
		rm -f $$made; \
		$(SAM) build >.tools/sam-build.log 2>&1 || { cat .tools/sam-build.log >&2; exit 1; }; \
		echo "$$key" >$$made; \
	fi
	@# What is deployed is linked here and nowhere else in CI: so its sizes are held here, once for each build.
	@held=.aws-sam/sizes-held; key=$$(cat .aws-sam/made-from infra/aws/binaries/*.go infra/aws/binaries/baseline.json | sha256sum); \
	if [[ ! -f $$held || $$(<$$held) != "$$key" ]]; then \
		go run ./infra/aws/binaries/measure -sizes .aws-sam/build; \
		echo "$$key" >$$held; \
	fi
