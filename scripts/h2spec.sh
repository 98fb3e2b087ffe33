#!/bin/sh
# Builds h2spec, the conformance test of HTTP/2, into the user's cache. Safe to run again; does nothing when it is there.
# Its published versions name no versions of what they build on, so scripts/h2spec/go.mod does.
set -eu
cd "$(dirname "$0")/h2spec"

bin="${XDG_CACHE_HOME:-$HOME/.cache}/orlop/bin"
[ -x "$bin/h2spec" ] && exit 0

go=$(../go.sh)
PATH="$go:$PATH"
echo 'h2spec.sh: building h2spec'
mkdir -p "$bin"
# Built beside its place, then moved, so that an interrupted build never leaves half a binary under the final name.
work=$(mktemp -d "$bin/h2spec.XXXXXX")
trap 'rm -rf "$work"' EXIT
GOBIN="$work" go install github.com/summerwind/h2spec/cmd/h2spec
mv "$work/h2spec" "$bin/h2spec"
