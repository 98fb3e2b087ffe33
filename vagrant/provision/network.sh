#!/usr/bin/env bash
# The network of pods, with nothing but the kernel's routes and CNI's bridge plugin: 10.244.N.0/24 on the machine whose address ends with N.
# May be run again at any time.
#   network.sh OWN_ADDRESS ADDRESS...
set -euo pipefail

PODS=10.244.0.0/16
own=$1
shift

range_of() { echo "10.244.${1##*.}.0/24"; }

mkdir -p /etc/cni/net.d
# Addresses of pods are seen as they are by other pods: masquerading is for what leaves the cluster, below.
cat > /etc/cni/net.d/10-bridge.conflist <<JSON
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(range_of "$own")"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON

for address in "$@"; do
  [ "$address" = "$own" ] || ip route replace "$(range_of "$address")" via "$address"
done

rule=(POSTROUTING -s "$PODS" ! -d "$PODS" -j MASQUERADE)
iptables -w -t nat -C "${rule[@]}" 2>/dev/null || iptables -w -t nat -A "${rule[@]}"
