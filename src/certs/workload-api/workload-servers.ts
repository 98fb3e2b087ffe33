/**
 * Who answers on the workload socket: a server for each pod that has asked, and one for strangers. Apart from the socket, because
 * gRPC takes some 30 MiB, which an agent spares as long as nobody asks.
 */
import type { Socket } from 'node:net';
import { PodServer } from './pod-server.ts';
import type { AttestedPod, ServingOptions } from './pod-server.ts';
import { StrangerServer } from './stranger-server.ts';

export class WorkloadServers {
  readonly #options: ServingOptions;
  readonly #pods = new Map<string, PodServer>();
  readonly #strangers = new StrangerServer();

  constructor(options: ServingOptions) {
    this.#options = options;
  }

  /** Serve a connection of this pod; undefined: of a stranger. */
  take(connection: Socket, pod: AttestedPod | undefined): void {
    (pod === undefined ? this.#strangers : this.#serverOf(pod)).take(connection);
  }

  /** The pod is no longer one of the mesh: its streams end. */
  release(podId: string): void {
    this.#pods.get(podId)?.close('the pod has left the mesh');
    this.#pods.delete(podId);
  }

  close(): void {
    for (const server of this.#pods.values()) server.close('the agent is ending');
    this.#strangers.close();
  }

  #serverOf({ podId, identity }: AttestedPod): PodServer {
    const server = this.#pods.get(podId) ?? new PodServer({ podId, identity }, this.#options);
    this.#pods.set(podId, server);
    return server;
  }
}
