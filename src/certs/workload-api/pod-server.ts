/**
 * A gRPC server that belongs to one pod. Every connection given to it was attested as that pod's, so nothing that a client says
 * can make it act for another.
 */
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ConnectionInjector } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { WORKLOAD_API_CONNECTIONS_MAX, WORKLOAD_API_MESSAGE_BYTES_MAX, WORKLOAD_API_SESSION_MB_MAX, WORKLOAD_API_STREAMS_MAX } from '../../core/limits.ts';
import type { Logger } from '../../core/log.ts';
import { parseSpiffeId } from '../../core/spiffe.ts';
import { SecretDiscoveryService } from '../sds/protocol.ts';
import { secretHandlers } from '../sds/service.ts';
import type { CertificateSource } from '../source.ts';
import type { Caller } from './caller.ts';
import { Notices } from './notices.ts';
import { SpiffeWorkloadAPI } from './protocol.ts';
import { workloadHandlers } from './service.ts';

/** What serving takes, for every pod alike. */
export interface ServingOptions {
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface AttestedPod {
  /** `ns/name` */
  readonly podId: string;
  /** SPIFFE id. */
  readonly identity: string;
}

/** Bounds that hold for every client of the workload socket. */
export const SERVER_BOUNDS: Readonly<Record<string, number>> = {
  'grpc.max_concurrent_streams': WORKLOAD_API_STREAMS_MAX,
  'grpc.max_receive_message_length': WORKLOAD_API_MESSAGE_BYTES_MAX,
  'grpc-node.max_session_memory': WORKLOAD_API_SESSION_MB_MAX,
  // Statistics of gRPC's own, which nobody could ask for.
  'grpc.enable_channelz': 0,
};

/** Time for the last words of a pod's streams to leave before its connections are cut. */
const FAREWELL_MS = 1_000;

export class PodServer {
  readonly #caller: Caller;
  readonly #server = new Server(SERVER_BOUNDS);
  readonly #injector: ConnectionInjector;
  readonly #connections = new Set<Socket>();

  constructor({ podId, identity }: AttestedPod, { source, clock, log }: ServingOptions) {
    const trustDomainId = `spiffe://${parseSpiffeId(identity)?.trustDomain ?? ''}`;
    this.#caller = { podId, identity, trustDomainId, source, clock, log, notices: new Notices(clock), open: new Set() };
    this.#server.addService(SecretDiscoveryService, { ...secretHandlers(this.#caller) });
    this.#server.addService(SpiffeWorkloadAPI, { ...workloadHandlers(this.#caller) });
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Serve a connection of this pod; one too many is closed. */
  take(connection: Socket): void {
    const { podId, notices, log } = this.#caller;
    if (this.#connections.size >= WORKLOAD_API_CONNECTIONS_MAX) {
      notices.once('connections', () => log.warn({ pod: podId, connections: this.#connections.size }, 'too many connections of one pod to the workload socket; further ones are closed'));
      connection.destroy();
      return;
    }
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    this.#injector.injectConnection(connection);
  }

  /** End every stream with the reason, then every connection. */
  close(reason: string): void {
    for (const call of this.#caller.open) call.end({ code: status.UNAVAILABLE, details: reason });
    this.#injector.destroy();
    this.#caller.clock.after(FAREWELL_MS, () => {
      for (const connection of this.#connections) connection.destroy();
    });
  }
}
