#!/usr/bin/env bash
# On the control plane: build Orlop and its image, and serve it to the workers.
set -euo pipefail
cd /opt/orlop

published=/srv/orlop-lab
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends make nodejs npm >/dev/null
# The Node of Debian 12 installs the one that Orlop runs on. (make setup asks for Node 20; what it has beyond this is for tests and benchmarks.)
apt-get install -y -qq --no-install-recommends bpftool clang gcc libbpf-dev libc6-dev llvm >/dev/null
npm install --no-save --no-audit --no-fund --loglevel=error
make -s -C bpf
make -s -C cni
make -s -C keeper

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
node_modules/.bin/node deploy/image/build.ts "$made/orlop.tar"
ctr --namespace k8s.io images import "$made/orlop.tar"
chmod 644 "$made/orlop.tar"
# In one step: a worker must not fetch half of it.
mv "$made/orlop.tar" "$published/.orlop.tar"
mv "$published/.orlop.tar" "$published/orlop.tar"
