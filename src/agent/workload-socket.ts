/**
 * The unix socket on which the pods of this node get their certificates. Anybody who can reach it may connect; what a caller
 * gets depends on who the kernel says it is. The socket has a directory of its own, which is all that a pod need mount: one
 * that is mounted outlives the agent, and the admin socket is not in it.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { Notices } from '../certs/workload-api/notices.ts';
import type { AttestedPod, ServingOptions } from '../certs/workload-api/pod-server.ts';
import type { WorkloadServers } from '../certs/workload-api/workload-servers.ts';
import { peerCredentials, peerNamespace } from '../sys/peer.ts';
import { listenAt } from '../sys/unix-socket.ts';
import { Attestor } from './attestor.ts';
import type { AttestablePod, Peer } from './attestor.ts';

export class WorkloadSocket {
  readonly path: string;
  readonly #options: ServingOptions;
  readonly #attestor = new Attestor();
  /** Loaded when somebody asks first. */
  #servers: Promise<WorkloadServers> | undefined;
  #closed = false;
  readonly #notices: Notices;
  readonly #listener: Server;
  #takeAway: () => void = () => undefined;

  /** It will be `workload.sock` in `directory`; its parents must let other users pass (mode 711). */
  constructor(directory: string, options: ServingOptions) {
    this.path = join(directory, 'workload.sock');
    this.#options = options;
    this.#notices = new Notices(options.clock);
    this.#listener = createServer((connection) => this.#accept(connection));
    this.#listener.on('error', (error) => options.log.error({ reason: error.message }, 'the workload socket could not accept a connection'));
  }

  /** Listen, in the place of an agent that did before. */
  async listen(): Promise<void> {
    const directory = dirname(this.path);
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o755);
    this.#takeAway = await listenAt(this.#listener, this.path, 0o666);
  }

  /** From now on processes of this pod are served. */
  enrol(pod: AttestablePod): void {
    this.release(pod.id);
    this.#attestor.enrol(pod);
  }

  /** The pod is no longer one of the mesh: its streams end, and it is a stranger. */
  release(id: string): void {
    this.#attestor.release(id);
    void this.#servers?.then((servers) => servers.release(id));
  }

  /** Take no more callers; streams that are open go on. The socket goes, unless the next agent's has its place by now. */
  letGo(): void {
    this.#takeAway();
    if (this.#listener.listening) this.#listener.close();
  }

  /** End what is open. */
  close(): void {
    this.letGo();
    this.#closed = true;
    void this.#servers?.then((servers) => servers.close());
  }

  #accept(connection: Socket): void {
    connection.on('error', () => connection.destroy());
    let peer: Peer;
    try {
      peer = peerOf(connection);
    } catch (error) {
      this.#notices.once('unattested', () => this.#options.log.error({ reason: String(error) }, 'caller of the workload socket could not be attested, and was cut off'));
      connection.destroy();
      return;
    }
    const attested = this.#attestor.identify(peer);
    if ('podId' in attested) {
      void this.#serve(connection, attested);
      return;
    }
    const { pid, uid } = peer.credentials;
    this.#notices.once(`${attested.reason} ${peer.namespace?.inode} ${uid}`, () => {
      this.#options.log.warn({ pid, uid, netns: peer.namespace?.inode.toString(), reason: attested.reason }, 'caller of the workload socket refused');
    });
    void this.#serve(connection, undefined);
  }

  async #serve(connection: Socket, pod: AttestedPod | undefined): Promise<void> {
    const options = this.#options;
    try {
      this.#servers ??= import('../certs/workload-api/workload-servers.ts').then(({ WorkloadServers: Servers }) => new Servers(options));
      const servers = await this.#servers;
      // The pod may have left while the servers were loaded.
      if (this.#closed || (pod !== undefined && !this.#attestor.isEnrolled(pod))) connection.destroy();
      else servers.take(connection, pod);
    } catch (error) {
      options.log.error({ reason: String(error) }, 'the workload socket cannot serve');
      connection.destroy();
    }
  }
}

/** Node keeps the descriptor of a connection in its handle. Node is pinned; should it move, nobody is served rather than anybody. */
function peerOf(connection: Socket): Peer {
  const fd = (connection as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (fd < 0) throw new Error('Node hides the descriptor of a connection');
  const credentials = peerCredentials(fd);
  return { credentials, namespace: peerNamespace(fd, credentials) };
}
