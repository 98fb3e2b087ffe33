#!/bin/sh
# Fetches what the measurements need: the peers and the load generators. Safe to run again; does nothing when all is there.
#   Debian packages: nginx-light with its stream module, haproxy, wrk, iperf3
#   Envoy: see scripts/envoy.sh
set -eu

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

"$(dirname "$0")/../scripts/envoy.sh"
