# Gatehouse. `make` alone prints the targets.

# The security floor: go.mod names the toolchain, and this lets Go fetch it
# where the machine's own is older.
export GOTOOLCHAIN := auto

PACKAGES := ./...
FUZZTIME ?= 10s
COVERAGE := coverage.out
COVERAGE_FLOOR := 85

.DEFAULT_GOAL := help
.PHONY: help build demo test test-kubernetes setup lint fuzz bench generate ci

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

build: ## build bin/gatehouse
	CGO_ENABLED=0 go build -trimpath -o bin/gatehouse ./cmd/gatehouse

demo: build ## see it work: gateway, provider, directory and app in one process on this machine
	bin/gatehouse demo

test: setup ## install what the tests need, then run all of them, real peers included
	go vet $(PACKAGES)
	CGO_ENABLED=1 go test -race -shuffle=on -timeout 20m -coverpkg=./... -coverprofile=$(COVERAGE) $(PACKAGES)
	@.ci/coverage $(COVERAGE) $(COVERAGE_FLOOR)

test-kubernetes: ## install and upgrade the chart at a real API server, which is built first (once, 5 CPU-minutes)
	@e2e/setup.sh kubernetes
	go test -count=1 -tags kubernetes -run Cluster -timeout 10m ./charts

setup: ## install the tests' peers (as root), or say what is missing
	@e2e/setup.sh

lint: ## run golangci-lint, built from its own module
	go -C .ci/tools build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run $(PACKAGES)

fuzz: ## run every fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

bench: ## measure: Go benchmarks, then a load comparison with a bare reverse proxy
	.ci/bench

generate: ## write again what is made from the code: schema, settings reference, golden files
	go test ./config ./authn/page ./cmd/gatehouse -update
	go test ./charts -update

ci: test lint fuzz ## what CI runs
