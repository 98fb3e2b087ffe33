#!/usr/bin/env bash
# Puts the Gateway API's conformance suite into the user's cache, outside the checkout, and prints the directory. Safe to run again; does
# nothing when it is there. All of it comes from Go modules (scripts/gateway-conformance): about 3 minutes on two cores when nothing is cached.
#   bin/    conformance.test, the suite; echo-basic, the server behind its gateways; client and server, what its pods in a mesh run
#   crds/   the experimental channel's CustomResourceDefinitions (with the fields of retries)
#   cert/   a certificate that `server` must be given
set -euo pipefail
cd "$(dirname "$0")/gateway-conformance"

# Named by what it is built from, so that checkouts of different versions share the cache without taking each other's programs.
digest=$(cat go.mod go.sum *.go ../gateway-conformance.sh | sha256sum | cut -c 1-8)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/orlop"
home="$cache/gateway-conformance-$digest"
say() { printf 'gateway-conformance.sh: %s\n' "$*" >&2; }
if [ -d "$home" ]; then echo "$home"; exit 0; fi

mkdir -p "$cache"
# Two runs would build the same things twice; the second waits, and finds them there.
exec 9> "$cache/gateway-conformance.lock"
flock 9
if [ -d "$home" ]; then echo "$home"; exit 0; fi

go=$(../go.sh)
PATH="$go:$PATH"

# Made beside its place, then moved, so that an interrupted run never leaves half of it under the final name.
work=$(mktemp -d "$cache/gateway-conformance.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/cert"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOBIN="$work/bin"
build=(-mod=readonly -trimpath -buildvcs=false -ldflags='-s -w')

say "building the suite and its servers, by $(go env GOVERSION); the first time takes minutes"
started=$SECONDS
nice -n 10 go install "${build[@]}" tool
nice -n 10 go test -c "${build[@]}" -o "$work/bin/conformance.test" .
cp -r --no-preserve=mode "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/experimental" "$work/crds"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=echo -keyout "$work/cert/cert.key" -out "$work/cert/cert.crt" 2>/dev/null
chmod 755 "$work"
chmod 644 "$work/cert/cert.key"
mv "$work" "$home"
say "built in $((SECONDS - started)) s: $home"
echo "$home"
