# `make help` lists the targets.

# Go may be on the PATH or where its own installer puts it.
export PATH := $(PATH):/usr/local/go/bin

PROGRAM   := bin/fleeting-plugin-mayfly
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64

# make demo: where images and workers live (empty: the program's default), how many jobs, and what each runs.
STATE_DIR   ?=
DEMO_JOBS   ?= 3
DEMO_SCRIPT ?= echo "hello from $$(hostname)"; uname -srm; nproc

# make bench: which sections (empty: all), how many workers at once, and how many rounds with one and with several of
# them; how often ways are compared, and how many GiB idle workers fill.
BENCH_SECTIONS       ?=
BENCH_COUNTS         ?= 1 4 8
BENCH_ROUNDS         ?= 5
BENCH_ROUNDS_SEVERAL ?= 2
BENCH_TURNS          ?= 3
BENCH_DENSITY        ?= 8

# make runner: a gitlab-runner, which is no package of Debian's, and what to run with it (empty: everything).
GITLAB_RUNNER ?= gitlab-runner
SCENARIOS     ?=

# make soak: what its choices follow from (empty: the time), how many rounds, pools of which backends, how many workers
# are made and deleted in place of rounds (0: rounds), and where golden images are kept (empty: nowhere).
SOAK_SEED     ?= 0
SOAK_ROUNDS   ?= 300
SOAK_BACKENDS ?= synthetic nspawn qemu
SOAK_CHURN    ?= 0
SOAK_IMAGES   ?=

# make release: the private ECDSA key on P-256 that signs, as PEM without a password (empty: no signature). make publish:
# the repository of fleeting's artifact, such as registry.example.com/ci/mayfly.
SIGN_KEY ?=
ARTIFACT ?=

# make bare: what to run on a machine that has nothing but Go, make and git.
BARE ?= make demo DEMO_JOBS=1 && CI=true make test

.DEFAULT_GOAL := help
.PHONY: help build demo test test-quick runner soak lint cross bench bench-go bare release publish generate packages clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/fleeting-plugin-mayfly
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o $(PROGRAM) ./cmd/fleeting-plugin-mayfly

demo: state := $(if $(STATE_DIR),--state-dir '$(STATE_DIR)')
demo: build ## Build a golden image and run three jobs on fresh machines (STATE_DIR, DEMO_JOBS, DEMO_SCRIPT)
	scripts/install-packages run
	$(PROGRAM) image build $(state)
	$(PROGRAM) try $(state) --jobs $(DEMO_JOBS) -- '$(DEMO_SCRIPT)'

test: packages ## Run every test: unit, integration, end to end
	go run ./test/programs/suite

test-quick: packages ## Run what needs no emulated machine, in minutes: before each commit
	go run ./test/programs/suite -quick

runner: build ## Run a real gitlab-runner with the plugin against a played GitLab (GITLAB_RUNNER, SCENARIOS, STATE_DIR)
	scripts/install-packages run systemd-nspawn
	go run ./test/programs/gitlab/prove -runner "$$(command -v '$(GITLAB_RUNNER)')" -plugin $(PROGRAM) -state-dir '$(STATE_DIR)' $(SCENARIOS)

soak: build packages ## Load plugins at random, kill them, flush the firewall, fill the disk (SOAK_SEED, SOAK_ROUNDS, SOAK_BACKENDS, …)
	go run ./test/programs/soak -plugin $(PROGRAM) -seed '$(SOAK_SEED)' -rounds '$(SOAK_ROUNDS)' \
		-backends '$(SOAK_BACKENDS)' -churn '$(SOAK_CHURN)' -images '$(SOAK_IMAGES)'

lint: ## Check formatting; vet for every system; staticcheck
	@unformatted=$$(gofmt -l .) && \
		test -z "$$unformatted" || { echo "gofmt would change:" $$unformatted; exit 1; }
	$(call each_platform,go vet ./...)
	go tool staticcheck ./...

cross: ## Build and vet for Linux, macOS and FreeBSD, amd64 and arm64
	$(call each_platform,go build ./... && go vet ./...)

bench: packages ## Measure clone, fork and the old way side by side; writes README.md, docs (BENCH_SECTIONS, BENCH_TURNS, …)
	go run ./test/programs/bench -sections '$(BENCH_SECTIONS)' -counts '$(BENCH_COUNTS)' -rounds '$(BENCH_ROUNDS)' \
		-rounds-several '$(BENCH_ROUNDS_SEVERAL)' -turns '$(BENCH_TURNS)' -density '$(BENCH_DENSITY)' -state-dir '$(STATE_DIR)'

bench-go: ## Run the Go benchmarks of all packages
	go test -run '^$$' -bench . -benchmem ./...

bare: export BARE := $(BARE)
bare: ## Run README's commands in a new Debian that has Go, make and git only, as root (BARE)
	scripts/bare "$$BARE"

release: ## Make programs, packages, checksums and all else that users install, in dist/ (VERSION, PLATFORMS, SIGN_KEY)
	rm -rf dist
	go run ./release -version '$(VERSION)' -platforms '$(PLATFORMS)' -key '$(SIGN_KEY)'

publish: ## Send the programs in dist/ to a registry as fleeting's artifact (ARTIFACT, VERSION)
	go tool fleeting-artifact release -dir dist '$(ARTIFACT):$(VERSION:v%=%)'

generate: ## Write the checked-in generated files anew
	go generate ./...

packages: ## Install what the program and its tests need (Debian and Ubuntu, as root)
	scripts/install-packages run test

clean: ## Remove what was built
	rm -rf bin dist

# each_platform runs a command once for every platform that we support.
define each_platform
@for platform in $(PLATFORMS); do \
	echo "$$platform: $(1)"; \
	(export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; $(1)) || exit 1; \
done
endef
