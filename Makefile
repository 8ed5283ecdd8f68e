# Gatehouse. `make` alone prints the targets.

# The security floor: go.mod names the toolchain, and this lets Go fetch it
# where the machine's own is older.
export GOTOOLCHAIN := auto

PACKAGES := ./...
FUZZTIME ?= 10s
COVERAGE := coverage.out
COVERAGE_FLOOR := 85

# What a release or an image is called, and the time of everything in it: the commit's.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
IMAGE ?= gatehouse:$(VERSION)
IMAGE_FORMAT ?= docker

.DEFAULT_GOAL := help
.PHONY: help build demo test test-image test-kubernetes setup lint fuzz bench generate image release licenses vulncheck ci

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
	go -C .ci/release test -timeout 10m .

test-image: setup ## of the tests, those alone that build the image and run it
	go test -count 1 -run '^TestImage$$' ./e2e

test-kubernetes: ## install and upgrade the chart at a real API server, which is built first (once, 5 CPU-minutes)
	@e2e/setup.sh kubernetes
	go test -count=1 -tags kubernetes -run Cluster -timeout 10m ./charts

setup: ## install the tests' peers (as root), or say what is missing
	@e2e/setup.sh

lint: ## run golangci-lint, built from its own module
	go -C .ci/tools build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run $(PACKAGES)
	cd .ci/release && ../../bin/golangci-lint run --config ../../.golangci.yml .

fuzz: ## run every fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

bench: ## measure: Go benchmarks, then a load comparison with a bare reverse proxy
	.ci/bench

generate: ## write again what is made from the code: schema, settings reference, golden files
	go test ./config ./authn/page ./cmd/gatehouse -update
	go test ./charts -update
	go -C .ci/release run . licenses -update

image: ## build the image IMAGE with buildah, with the same layers each time
	buildah bud --format $(IMAGE_FORMAT) --timestamp $(SOURCE_DATE_EPOCH) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) --tag $(IMAGE) .

release: licenses ## make archives, bills of materials and checksums in dist/
	rm -rf dist
	go -C .ci/release run . archives -version $(VERSION) -time $(SOURCE_DATE_EPOCH) -out ../../dist

licenses: ## hold the dependencies to the licences that they may have
	go -C .ci/release run . licenses

vulncheck: ## ask Go's vulnerability database about what the program calls; STRICT=1 insists on an answer
	.ci/vulncheck

ci: test lint fuzz ## what CI runs, with FUZZTIME=5s there
