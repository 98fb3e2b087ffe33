#!/usr/bin/env bash
# Installs what Orlop needs on a Debian 12 machine and builds the BPF programs and the CNI plugin. Safe to run again: it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "Orlop runs on Linux; this is $(uname -s)"
[ "$(id -u)" = 0 ] || fail "needs root (network namespaces, BPF, packages): run 'sudo make setup'"
command -v node >/dev/null || fail "needs any Node >= 20 to install npm packages (apt-get install nodejs npm, or nodejs.org); everything then runs on the pinned Node"
node_major=$(node -p 'process.versions.node.split(".")[0]')
[ "$node_major" -ge 20 ] || fail "needs Node >= 20 to install npm packages; this is $(node --version)"
kernel=$(uname -r | cut -d. -f1,2)
[ "$(printf '%s\n5.15\n' "$kernel" | sort -V | head -n 1)" = 5.15 ] || fail "needs Linux >= 5.15; this is $(uname -r)"

# package:what it is looked up by
debian=(iptables:iptables nftables:nft clang:clang llvm:llvm-strip bpftool:bpftool iproute2:ip make:make curl:curl
  tcpdump:tcpdump shellcheck:shellcheck vagrant:vagrant openssl:openssl procps:sysctl prometheus:promtool nginx-light:nginx redis-server:redis-server nghttp2-client:h2load python3-pip:pip3)
missing=()
for entry in "${debian[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
done
[ -e /usr/include/bpf/bpf_helpers.h ] || missing+=(libbpf-dev)
# For the tests of the CNI plugin, which run it with its memory checked.
compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.a" >/dev/null || missing+=(libclang-rt-dev)
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || fail "missing: ${missing[*]}; this is not Debian, install them by hand and run again"
  say "Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # The lab starts its own servers inside its namespaces; the packages' services must not take the machine's ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "npm packages (pinned by package-lock.json)"
  # Not `npm ci`: it refuses a lock file without the optional packages of other platforms, which not every registry carries.
  # This takes the same versions from the lock file and does not rewrite it.
  npm install --no-save --no-audit --no-fund --loglevel=error
fi
[ -x node_modules/node/bin/node ] || fail "the pinned Node did not install; try: rm -rf node_modules && make setup"

# Only some tests need them, and say so. The Kubernetes of the tests takes cc(1) too, which Debian's clang brings.
scripts/go.sh >/dev/null || say "Go >= 1.24 is missing: the Kubernetes of the tests cannot be built; install it (go.dev/dl) and run this again"
scripts/h2spec.sh || say "h2spec is missing: the HTTP/2 conformance test will fail"
scripts/spiffe-client.sh || say "the client on go-spiffe is missing: the test with a foreign Workload API client will fail"
scripts/envoy.sh || say "Envoy is missing: the tests that have it for a peer will fail"

say "BPF programs, CNI plugin, keeper"
make -s -C bpf
make -s -C cni
make -s -C keeper

mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || say "no BPF filesystem could be mounted: only --redirect iptables will work"
touch .setup-done
say "ready: make demo, make test"
