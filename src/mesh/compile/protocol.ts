/** What a port speaks, by Istio's rules: appProtocol first, then the prefix of its name, then its number. */
import type { ServicePort } from '../snapshot.ts';
import type { Protocol } from '../table.ts';

/** Names of protocols, as they stand in appProtocol, port names and ServiceEntries. */
const BY_NAME: Readonly<Record<string, Protocol>> = {
  http: 'http', 'http_proxy': 'http', http2: 'http2', grpc: 'grpc', 'grpc-web': 'http', https: 'tls', tls: 'tls',
  tcp: 'tcp', mongo: 'tcp', redis: 'tcp', mysql: 'tcp',
  'kubernetes.io/h2c': 'http2', 'kubernetes.io/ws': 'http', 'kubernetes.io/wss': 'tls',
};

/** Ports whose servers speak first, or whose clients wait: never sniffed when nothing is declared. */
const TCP_PORTS = new Set([25, 53, 3306, 27_017]);

export function serviceProtocol({ appProtocol, name, port }: ServicePort): Protocol {
  if (appProtocol !== '') return BY_NAME[appProtocol.toLowerCase()] ?? undeclared(port);
  const lower = name.toLowerCase();
  if (lower === 'grpc-web' || lower.startsWith('grpc-web-')) return 'http';
  return BY_NAME[lower.split('-')[0] as string] ?? undeclared(port);
}

export function entryProtocol(protocol: string): Protocol {
  return BY_NAME[protocol.toLowerCase()] ?? 'sniff';
}

function undeclared(port: number): Protocol {
  return TCP_PORTS.has(port) ? 'tcp' : 'sniff';
}

/** May requests on such a port be routed as HTTP? */
export function carriesHttp(protocol: Protocol): boolean {
  return protocol === 'http' || protocol === 'http2' || protocol === 'grpc' || protocol === 'sniff';
}
