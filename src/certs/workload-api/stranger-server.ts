/** Answers callers that are no pod of this node: PERMISSION_DENIED, whatever they ask for, and then the connection ends. */
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ConnectionInjector, UntypedHandleCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import type { Socket } from 'node:net';
import { WORKLOAD_API_STRANGER_MS, WORKLOAD_API_STRANGERS_MAX } from '../../core/limits.ts';
import { SecretDiscoveryService } from '../sds/protocol.ts';
import type { Failure } from './caller.ts';
import { SERVER_BOUNDS } from './pod-server.ts';
import { SpiffeWorkloadAPI } from './protocol.ts';

const REFUSAL: Failure = { code: status.PERMISSION_DENIED, details: 'this process is in no pod that is enrolled on this node; the log of the agent says why' };

export class StrangerServer {
  readonly #injector: ConnectionInjector;
  readonly #connections = new Set<Socket>();

  constructor() {
    const server = new Server({ ...SERVER_BOUNDS, 'grpc.max_connection_age_ms': WORKLOAD_API_STRANGER_MS, 'grpc.max_connection_age_grace_ms': WORKLOAD_API_STRANGER_MS });
    for (const service of [SecretDiscoveryService, SpiffeWorkloadAPI]) server.addService(service, refusals(service));
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  take(connection: Socket): void {
    if (this.#connections.size >= WORKLOAD_API_STRANGERS_MAX) {
      connection.destroy();
      return;
    }
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    this.#injector.injectConnection(connection);
  }

  close(): void {
    this.#injector.destroy();
    for (const connection of this.#connections) connection.destroy();
  }
}

function refusals(service: ServiceDefinition): UntypedServiceImplementation {
  return Object.fromEntries(Object.entries(service).map(([name, { requestStream, responseStream }]) => [name, requestStream || responseStream ? refuseStream : refuseUnary]));
}

const refuseStream = ((call: { emit(event: 'error', failure: Failure): void }) => {
  call.emit('error', REFUSAL);
}) as UntypedHandleCall;

const refuseUnary = ((_call: unknown, reply: (failure: Failure) => void) => {
  reply(REFUSAL);
}) as UntypedHandleCall;
