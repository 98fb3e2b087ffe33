/** What the main thread and the workers of an agent say to each other. Plain data: everything crosses threads. */
import type { WorkloadCertificate } from '../certs/certificate.ts';
import type { Credential } from '../certs/credential.ts';
import type { GatewayId } from '../mesh/gateway/table.ts';
import type { SnapshotChange } from '../mesh/change.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { JwksState, JwksTarget } from '../proxy/jwt/jwks-source.ts';
import type { OriginalDst } from '../redirect/redirector.ts';
import type { ForwardedLine } from './forward-log.ts';

/** A pod of this node as a worker learns of it. */
export interface EnrolledPod {
  /** `ns/name`. */
  readonly id: string;
  /** SPIFFE id. */
  readonly identity: string;
  /** W3C baggage. */
  readonly baggage: string;
  readonly netnsPath: string;
  readonly addresses: readonly string[];
  /** Listening sockets owned by the main thread, for the one worker that accepts this pod's connections. */
  readonly listeners: PodSockets | undefined;
}

export interface PodSockets {
  readonly outbound: readonly number[];
  readonly inbound: readonly number[];
  readonly hbone: readonly number[];
  /** In the order in which they are asked: behind that of this agent's capture, those of an agent that handed over. */
  readonly originalDsts: readonly OriginalDst[];
}

/** A gateway that this node serves, for the one worker that accepts its connections. */
export interface ServedGateway {
  readonly id: GatewayId;
  /** As a workload, in metrics and logs: `ns/name-orlop`. */
  readonly workload: string;
  /** W3C baggage. */
  readonly baggage: string;
  /** Of the node. */
  readonly addresses: readonly string[];
  readonly sockets: readonly GatewaySocket[];
}

export interface GatewaySocket {
  /** Listening; owned by the main thread. */
  readonly fd: number;
  /** Of the gateway. */
  readonly port: number;
  /** That the socket listens on. */
  readonly nodePort: number;
}

export type ToWorker =
  /** The first one; after that, what has changed since the last. */
  | { readonly type: 'snapshot'; readonly snapshot: Snapshot }
  | { readonly type: 'change'; readonly change: SnapshotChange }
  | { readonly type: 'enrol'; readonly pod: EnrolledPod }
  /** Answered when the last connection of the pod has ended. */
  | { readonly type: 'release'; readonly id: string; readonly call: number }
  /** A new certificate, or new roots. Keys go from the main thread to its workers, and nowhere else. */
  | { readonly type: 'certificate'; readonly certificate: WorkloadCertificate }
  /** No pod of the node has this identity any more. */
  | { readonly type: 'forget'; readonly identity: string }
  | { readonly type: 'gateway'; readonly gateway: ServedGateway }
  | { readonly type: 'forget-gateway'; readonly workload: string }
  /** What gateways show and trust, by where it comes from; undefined: there is none any more. Like certificates, it goes nowhere else. */
  | { readonly type: 'credential'; readonly source: string; readonly credential: Credential | undefined }
  /** Of the node's interfaces, without loopback: whom the kubelet's probes come from. */
  | { readonly type: 'node-addresses'; readonly addresses: readonly string[] }
  /** The keys of an issuer as they are known now. */
  | { readonly type: 'jwks'; readonly key: string; readonly state: JwksState }
  | { readonly type: 'collect'; readonly call: number }
  | { readonly type: 'describe'; readonly call: number; readonly id: string }
  /** Another agent accepts: accept no more, and let go of what is idle for long. */
  | { readonly type: 'hand-over' }
  /** That agent is gone: pods are enrolled again. */
  | { readonly type: 'take-back' }
  | { readonly type: 'drain'; readonly deadlineMs: number; readonly accepting: boolean };

export type FromWorker =
  | { readonly type: 'log'; readonly line: ForwardedLine }
  /** The tables of this snapshot are in force. */
  | { readonly type: 'applied'; readonly version: number }
  /** A pod is served: its listeners accept. */
  | { readonly type: 'enrolled'; readonly id: string }
  | { readonly type: 'failed'; readonly id: string; readonly message: string }
  /** All the key sets that the worker's rules need. */
  | { readonly type: 'jwks-wanted'; readonly targets: readonly JwksTarget[] }
  /** A token names a key that is not among them. */
  | { readonly type: 'jwks-refresh'; readonly key: string }
  | { readonly type: 'answer'; readonly call: number; readonly value: unknown }
  /** Nothing is accepted any more. */
  | { readonly type: 'handed-over' }
  /** No connection is left, or the deadline has passed with so many. */
  | { readonly type: 'drained'; readonly left: number };
