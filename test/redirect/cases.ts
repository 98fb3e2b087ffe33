/** Annotations of pods whose rules are kept as golden files, and tried in a real namespace. */
export const CASES: Record<string, Record<string, string>> = {
  'default': {},
  'exclusions': {
    'orlop.io/exclude-outbound-ports': '25,3306,9000-9010',
    'orlop.io/exclude-inbound-ports': '22,9100',
    'orlop.io/exclude-outbound-cidrs': '10.96.0.0/12,2001:db8::/32,0.0.0.0/0',
    'config.linkerd.io/skip-subnets': '192.0.2.0/24',
    'config.linkerd.io/proxy-uid': '2102',
    'orlop.io/exclude-gids': '5000-5010',
    'traffic.kuma.io/exclude-outbound-ports-for-uids': 'tcp:443:1000',
    'traffic.sidecar.istio.io/excludeInterfaces': 'eth1',
    'istio.io/reroute-virtual-interfaces': 'tap0',
  },
  'inclusions': {
    'traffic.sidecar.istio.io/includeOutboundIPRanges': '10.0.0.0/8,fd00::/8',
    'traffic.sidecar.istio.io/includeOutboundPorts': '443',
    'traffic.sidecar.istio.io/includeInboundPorts': '8080,8443',
  },
  'many-ports': { 'orlop.io/exclude-outbound-ports': Array.from({ length: 20 }, (_, i) => 1001 + 2 * i).join() },
  'ingress': { 'ambient.istio.io/bypass-inbound-capture': 'true' },
};
