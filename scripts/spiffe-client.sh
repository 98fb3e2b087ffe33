#!/bin/sh
# Builds a client of the SPIFFE Workload API on go-spiffe into the user's cache, for the test that has it for a peer. Safe to run again; does
# nothing when it is there.
set -eu
cd "$(dirname "$0")/spiffe-client"

bin="${XDG_CACHE_HOME:-$HOME/.cache}/orlop/bin"
[ "$bin/spiffe-client" -nt main.go ] && exit 0

go=$(../go.sh)
PATH="$go:$PATH"
echo 'spiffe-client.sh: building a client on go-spiffe'
mkdir -p "$bin"
# Built beside its place, then moved, so that an interrupted build never leaves half a binary under the final name.
work=$(mktemp -d "$bin/spiffe-client.XXXXXX")
trap 'rm -rf "$work"' EXIT
go build -o "$work/spiffe-client" .
mv "$work/spiffe-client" "$bin/spiffe-client"
