# The commands of the house. `make setup` is idempotent; the others run it first where something is missing.
SHELL := /bin/bash
NODE := node_modules/.bin/node
.DEFAULT_GOAL := help

.PHONY: help setup demo story test test-kube gateway-conformance churn kube-up kube-down check bench build bpf clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what Orlop needs (Debian packages, npm packages, BPF objects, CNI plugin, keeper)
	@scripts/setup.sh

.setup-done: package.json package-lock.json scripts/setup.sh native.mk $(wildcard bpf/*.c bpf/*.h cni/*.c cni/*.h keeper/*.c keeper/*.h)
	@scripts/setup.sh
	@touch $@

demo: .setup-done build ## a mesh of two nodes with bookinfo, routed by Istio's YAML (KEEP=1 leaves it running)
	@bin/orlop demo $(if $(KEEP),--keep)

story: .setup-done ## Orlop on a real Kubernetes of two nodes on this machine: installed, used, measured, removed without a trace
	@$(NODE) scripts/story.ts

test: .setup-done build ## every test: network namespaces, both backends, a real Kubernetes (needs root; Go to build that once)
	@scripts/kube.sh >/dev/null
	@$(NODE) scripts/test.ts --project unit --project kernel --project kube

test-kube: .setup-done ## only those on a real Kubernetes of two nodes on this machine (KEEP=1 leaves the cluster running)
	@scripts/kube.sh >/dev/null
	@$(NODE) scripts/test.ts --project kube

gateway-conformance: .setup-done ## the Gateway API's own suite against Orlop on that Kubernetes; writes docs/conformance (about 20 minutes)
	@$(NODE) scripts/gateway-conformance.ts $(ARGS)

churn: .setup-done ## failures while pods come and go, with and without the mesh (CHURN_PODS=50 CHURN_SECONDS=300; a machine that does nothing else)
	@scripts/kube.sh >/dev/null
	@$(NODE) scripts/test.ts --project kube test/kube/churn.kube.ts

kube-up: .setup-done ## that cluster, to try things on (make kube-down removes it)
	@$(NODE) test/kube/cluster/main.ts up

kube-down: ## remove such clusters, also those that a crash left behind
	@$(NODE) test/kube/cluster/main.ts down

check: .setup-done ## types, lint, dead code, layers
	@node_modules/.bin/tsc --noEmit
	@node_modules/.bin/oxlint --type-aware --deny-warnings
	@node_modules/.bin/knip
	@$(NODE) node_modules/vitest/vitest.mjs run --project unit test/layers.test.ts

bench: .setup-done build ## side by side with nginx, haproxy and Envoy
	@bench/setup.sh
	@$(NODE) bench/run.ts $(ARGS)

build: .setup-done ## compile src/ to dist/
	@node_modules/.bin/tsc -p tsconfig.build.json

clean: ## remove what was built
	@rm -rf dist bench/out .setup-done
	@$(MAKE) -s -C bpf clean
	@$(MAKE) -s -C cni clean
	@$(MAKE) -s -C keeper clean
