#!/usr/bin/env bash
# Puts what the test cluster is made of into the user's cache, outside the checkout, and prints the directory. Safe to run again; does nothing
# when it is there. Kubernetes and etcd are built from their Go modules as one program (scripts/kubernetes): about 5 minutes on two cores when
# nothing is cached. What a node has besides (containerd, runc, CNI plugins, busybox) are Debian's packages, unpacked but not installed.
#   bin/      kubernetes, with a link for each component's name; pause
#   debian/   the packages' files
set -euo pipefail
cd "$(dirname "$0")/kubernetes"

VERSION=1.33.13
PACKAGES=(containerd runc containernetworking-plugins busybox libc6 libseccomp2)
COMPONENTS=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

# Named by what it is built from, so that checkouts of different versions share the cache without taking each other's programs.
digest=$(cat go.mod go.sum main.go pause.c ../kube.sh | sha256sum | cut -c 1-8)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/orlop"
home="$cache/kube-$VERSION-$digest"
say() { printf 'kube.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
if [ -d "$home" ]; then echo "$home"; exit 0; fi

mkdir -p "$cache"
# Two runs would build the same things twice; the second waits, and finds them there.
exec 9> "$cache/kube.lock"
flock 9
if [ -d "$home" ]; then echo "$home"; exit 0; fi

go=$(../go.sh)
PATH="$go:$PATH"
command -v cc >/dev/null || fail 'needs a C compiler: apt-get install gcc libc6-dev'

# Made beside its place, then moved, so that an interrupted run never leaves half of it under the final name.
work=$(mktemp -d "$cache/kube.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/debian" "$work/packages"

say "Debian packages: ${PACKAGES[*]}"
(
  cd "$work/packages"
  apt-get -qq download "${PACKAGES[@]}" 2>/dev/null || { apt-get -qq update && apt-get -qq download "${PACKAGES[@]}"; }
  for package in *.deb; do dpkg-deb --extract "$package" ../debian; done
) >&2
rm -r "$work/packages"

say "Kubernetes v$VERSION, by $(go env GOVERSION); the first time takes minutes"
started=$SECONDS
version=k8s.io/component-base/version
# -trimpath keeps the build cache good for every checkout. The version is what clients and `kubectl version` are told.
CGO_ENABLED=0 GOTOOLCHAIN=local nice -n 10 go build -mod=readonly -trimpath -buildvcs=false -o "$work/bin/kubernetes" -ldflags "-s -w \
  -X $version.gitVersion=v$VERSION -X $version.gitMajor=1 -X $version.gitMinor=33 -X $version.gitTreeState=clean \
  -X k8s.io/client-go/pkg/version.gitVersion=v$VERSION" .
for component in "${COMPONENTS[@]}"; do ln -s kubernetes "$work/bin/$component"; done
cc -static -Os -Wall -Wextra -Werror -s -o "$work/bin/pause" pause.c
chmod 755 "$work"
mv "$work" "$home"
say "built in $((SECONDS - started)) s: $home"
echo "$home"
