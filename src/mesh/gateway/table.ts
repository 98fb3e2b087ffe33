/**
 * What a snapshot compiles to for one gateway: which ports it opens, how it tells the connections of a port apart, and where their requests
 * go. Made of the same parts as the table of a workload, so the data plane does with a request what it does with one of a pod.
 *
 *   connection to port 443
 *     └─ ports → TlsPort.servers (by the ClientHello's server name) ─→ TlsServer
 *          ├─ termination: with which certificates the handshake is done; none: the bytes are passed on as they are
 *          └─ hosts (HTTPS) ─→ VirtualHost.routes ─→ RouteAction          or routes (TLS) ─→ WeightedCluster
 *   connection to port 80
 *     └─ ports → HttpPort.hosts (by the Host header) ─→ VirtualHost.routes ─→ RouteAction
 */
import type { HostTable, ObjectRef, Table, TcpRoute } from '../table.ts';

/** Kind of the gateways that Istio's Gateway resources make up together: those of a cluster are servers of one gateway on its nodes. */
export const ISTIO_GATEWAY = 'Gateway.networking.istio.io';
/** Kind of a Gateway of the Gateway API, each of which is a gateway of its own. */
export const GATEWAY = 'Gateway';

export interface GatewayId {
  readonly kind: typeof GATEWAY | typeof ISTIO_GATEWAY;
  readonly namespace: string;
  readonly name: string;
}

export interface GatewayTable {
  readonly gateway: GatewayId;
  /** Account that the gateway's identity is of, in its namespace: `<name>-orlop`. */
  readonly serviceAccount: string;
  /** `spiffe://cluster.local/ns/<ns of the Gateway>/sa/<serviceAccount>`: who it is to the pods it sends to. */
  readonly identity: string;
  /** The gateway as a client of the mesh: clusters, who is at an address, version. It calls nothing by address, and has no ports of its own. */
  readonly table: Table;
  /** By number. Ports whose listeners are all invalid or in conflict are not here. */
  readonly ports: ReadonlyMap<number, GatewayPort>;
}

export type GatewayPort = HttpPort | TlsPort | TcpPort;

/** Requests in plaintext: HTTP listeners. */
export interface HttpPort {
  readonly kind: 'http';
  readonly port: number;
  /** Names of its listeners, for logs and metrics. */
  readonly listeners: readonly string[];
  /** Of all listeners; a host that only a less specific listener has routes for is not here (listener isolation). */
  readonly hosts: HostTable;
}

/** TLS: HTTPS and TLS listeners, told apart by the server name. */
export interface TlsPort {
  readonly kind: 'tls';
  readonly port: number;
  readonly listeners: readonly string[];
  readonly servers: ServerNameTable;
}

/** Bytes: a TCP listener, of which a port has one. */
export interface TcpPort {
  readonly kind: 'tcp';
  readonly port: number;
  readonly listeners: readonly string[];
  /** Empty: connections are closed. */
  readonly routes: readonly TcpRoute[];
}

export interface ServerNameTable {
  /** Lower-case name. */
  readonly exact: ReadonlyMap<string, TlsServer>;
  /** Suffixes with their leading dot, longest first; `''` takes every name, and connections without one. */
  readonly wildcards: readonly { readonly suffix: string; readonly server: TlsServer }[];
}

export interface TlsServer {
  readonly listener: string;
  /** Undefined: passed through unopened. */
  readonly termination: TlsTermination | undefined;
  /** Of an HTTPS listener. */
  readonly hosts: HostTable | undefined;
  /** Of a TLS listener; empty there: connections are closed. */
  readonly routes: readonly TcpRoute[];
}

/** The gateway's side of a handshake. */
export interface TlsTermination {
  /** At least one; the one that has the server name in it is shown, else the first. */
  readonly certificates: readonly CertificateSource[];
  /** Undefined: clients are not asked for a certificate. */
  readonly clients: ClientValidation | undefined;
  /** As `node:tls` calls them. */
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly maxVersion: 'TLSv1.2' | 'TLSv1.3';
  /** OpenSSL's names; empty: Node's choice. */
  readonly cipherSuites: readonly string[];
}

export interface ClientValidation {
  /** `require`: none, or one that is not valid, ends the handshake. `optional`: none will do. `insecure`: so does one that is not valid. */
  readonly mode: 'require' | 'optional' | 'insecure';
  /** Bundles that together are trusted. */
  readonly authorities: readonly AuthoritySource[];
  /** One of them must be in the client's certificate; empty: any name. */
  readonly subjectAltNames: readonly string[];
}

/** Where a certificate and its key come from. */
export type CertificateSource = ObjectRef | CertificateFiles;

/** Where a bundle of certificates in PEM comes from: `ca.crt` of an object, or a file. */
export type AuthoritySource = ObjectRef | { readonly kind: 'file'; readonly path: string };

/** Paths of the node, as in Istio's serverCertificate and privateKey. */
export interface CertificateFiles {
  readonly kind: 'files';
  readonly certificate: string;
  readonly privateKey: string;
}
