/**
 * Istio's Gateways as servers of one gateway. Their `selector` names pods that run a gateway's proxy; Orlop has no such pods, the nodes' agents
 * do their work. So a Gateway whose selector no pod has is served by the nodes; one that selects pods is those pods' (another mesh's, most
 * likely), and the nodes keep out of it.
 */
import { hasLabels } from '../compile/registry.ts';
import type { IstioGatewaySpec, IstioServer, Resource } from '../resources.ts';
import type { Snapshot, Workload } from '../snapshot.ts';
import type { AuthoritySource, CertificateSource, ClientValidation, TlsTermination } from './table.ts';

export type IstioGateway = Resource<IstioGatewaySpec>;

/** A server that has its port, and the hosts that no older server has there. */
export interface ServedServer {
  readonly gateway: IstioGateway;
  readonly server: IstioServer;
  readonly index: number;
  readonly family: ServerFamily;
  readonly hosts: readonly ServerHost[];
}

/** How connections of a port are told apart: requests by host, TLS by server name, bytes not at all. */
export type ServerFamily = 'http' | 'tls' | 'tcp';

export interface ServerHost {
  /** Lower case; `*`, or with `*.` before it. */
  readonly name: string;
  /** VirtualServices of this namespace only; undefined: of all. */
  readonly namespace: string | undefined;
}

/** Why a server, or one of its hosts, is not served. */
export interface ServerConflict {
  readonly gateway: IstioGateway;
  readonly index: number;
  /** Of the server's; undefined: all of it. */
  readonly host: number | undefined;
  readonly message: string;
}

export interface Servers {
  /** By port; the oldest Gateway first. */
  readonly ports: ReadonlyMap<number, readonly ServedServer[]>;
  readonly conflicts: readonly ServerConflict[];
}

/** A pod that the Gateway selects; undefined: the nodes serve it. */
export function selectedPod({ spec: { selector = {} } }: IstioGateway, { workloads }: Snapshot): Workload | undefined {
  if (Object.keys(selector).length === 0) return undefined;
  return workloads.find(({ labels, phase }) => phase !== 'Succeeded' && phase !== 'Failed' && hasLabels(labels, selector));
}

const known = new WeakMap<Snapshot, Servers>();

/** The servers of all Gateways that the nodes serve. On one port the oldest decides what it speaks, and who is there first has a host. */
export function serversOf(snapshot: Snapshot): Servers {
  const made = known.get(snapshot) ?? readServers(snapshot);
  known.set(snapshot, made);
  return made;
}

function readServers(snapshot: Snapshot): Servers {
  const ports = new Map<number, ServedServer[]>();
  const conflicts: ServerConflict[] = [];
  for (const gateway of snapshot.istioGateways) {
    if (selectedPod(gateway, snapshot) !== undefined) continue;
    for (const [index, server] of gateway.spec.servers.entries()) {
      const { number } = server.port;
      const family = familyOf(server);
      if (family === undefined) continue;
      const others = ports.get(number) ?? [];
      const [first] = others;
      if (first !== undefined && (first.family !== family || family === 'tcp')) {
        conflicts.push({ gateway, index, host: undefined, message: `port ${number} is ${first.server.port.protocol} for Gateway ${first.gateway.namespace}/${first.gateway.name}, and cannot be ${server.port.protocol} too` });
        continue;
      }
      const hosts = freeHosts({ gateway, server, index, family, others }, conflicts);
      if (hosts.length > 0) ports.set(number, [...others, { gateway, server, index, family, hosts }]);
    }
  }
  return { ports, conflicts };
}

/** Plaintext servers of a port are one: who has a host there is a question of VirtualServices. Behind TLS a host has one certificate. */
function freeHosts({ gateway, server, index, family, others }: Omit<ServedServer, 'hosts'> & { readonly others: readonly ServedServer[] }, conflicts: ServerConflict[]): ServerHost[] {
  return server.hosts.flatMap((text, i) => {
    const host = hostOf(text, gateway.namespace);
    const owner = family === 'tls' ? others.find(({ hosts }) => hosts.some(({ name }) => name === host.name)) : undefined;
    if (owner === undefined) return [host];
    conflicts.push({ gateway, index, host: i, message: `"${host.name}" on port ${server.port.number} belongs to Gateway ${owner.gateway.namespace}/${owner.gateway.name}, which is older` });
    return [];
  });
}

/** `ns/name`, where the namespace is that of the VirtualServices it is for; `.` is the Gateway's own. */
function hostOf(text: string, own: string): ServerHost {
  const slash = text.indexOf('/');
  const namespace = slash < 0 ? '*' : text.slice(0, slash);
  return { name: text.slice(slash + 1).toLowerCase(), namespace: namespace === '*' ? undefined : namespace === '.' ? own : namespace };
}

/** Undefined: not honoured, which is reported where it is written. */
function familyOf({ port, tls }: IstioServer): ServerFamily | undefined {
  const protocol = port.protocol.toUpperCase();
  if (tls?.mode === 'AUTO_PASSTHROUGH' || tls?.mode === 'ISTIO_MUTUAL') return undefined;
  if (HTTP.has(protocol)) return 'http';
  if (protocol === 'HTTPS' || protocol === 'TLS' || (TCP.has(protocol) && tls !== undefined)) return 'tls';
  return TCP.has(protocol) ? 'tcp' : undefined;
}

export const HTTP: ReadonlySet<string> = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB']);
export const TCP: ReadonlySet<string> = new Set(['TCP', 'MONGO']);

/** Undefined: the server passes TLS through. */
export function terminationOf({ namespace }: IstioGateway, { tls }: IstioServer, rootNamespace: string): TlsTermination | undefined {
  const { mode = 'PASSTHROUGH', credentialName, credentialNames, tlsCertificates = [], minProtocolVersion, maxProtocolVersion, cipherSuites = [] } = tls ?? {};
  if (mode === 'PASSTHROUGH') return undefined;
  // Istio looks in the namespace of the pods of the gateway, which is mostly its root namespace; there are none here.
  const namespaces = [...new Set([namespace, rootNamespace])];
  const names = credentialName === undefined ? (credentialNames ?? []) : [credentialName];
  const secrets = names.flatMap((name) => namespaces.map((of): CertificateSource => ({ kind: 'Secret', namespace: of, name })));
  const files = [tls, ...tlsCertificates].flatMap((one): CertificateSource[] => (one?.serverCertificate === undefined || one.privateKey === undefined ? [] : [{ kind: 'files', certificate: one.serverCertificate, privateKey: one.privateKey }]));
  return {
    certificates: [...secrets, ...files],
    clients: mode === 'SIMPLE' ? undefined : clientsOf(tls, mode, namespaces, names),
    minVersion: minProtocolVersion === 'TLSV1_3' ? 'TLSv1.3' : 'TLSv1.2',
    maxVersion: maxProtocolVersion === 'TLSV1_2' ? 'TLSv1.2' : 'TLSv1.3',
    cipherSuites,
  };
}

/** Authorities stand beside the certificate, in `<name>-cacert`, or where caCertCredentialName says. */
function clientsOf(tls: IstioServer['tls'], mode: string, namespaces: readonly string[], names: readonly string[]): ClientValidation {
  const { caCertCredentialName, caCertificates, tlsCertificates = [], subjectAltNames = [], insecureSkipVerify } = tls ?? {};
  const secrets = caCertCredentialName === undefined ? names.flatMap((name) => [`${name}-cacert`, name]) : [caCertCredentialName];
  const paths = [caCertificates, ...tlsCertificates.map((one) => one.caCertificates)].filter((path) => path !== undefined);
  const kinds = caCertCredentialName === undefined ? (['Secret'] as const) : (['Secret', 'ConfigMap'] as const);
  const objects = secrets.flatMap((name) => namespaces.flatMap((namespace) => kinds.map((kind): AuthoritySource => ({ kind, namespace, name }))));
  return {
    mode: insecureSkipVerify === true ? 'insecure' : mode === 'OPTIONAL_MUTUAL' ? 'optional' : 'require',
    authorities: [...objects, ...paths.map((path): AuthoritySource => ({ kind: 'file', path }))],
    subjectAltNames,
  };
}
