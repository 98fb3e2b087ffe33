/**
 * The unix socket on which the pods of this node get their certificates. Anybody who can reach it may connect; what a caller
 * gets depends on who the kernel says it is. The socket has a directory of its own, which is all that a pod need mount: one
 * that is mounted outlives the agent, and the admin socket is not in it.
 */
import { chmodSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { Notices } from '../certs/workload-api/notices.ts';
import { PodServer } from '../certs/workload-api/pod-server.ts';
import type { AttestedPod, ServingOptions } from '../certs/workload-api/pod-server.ts';
import { StrangerServer } from '../certs/workload-api/stranger-server.ts';
import { peerCredentials, peerNamespace } from '../sys/peer.ts';
import { Attestor } from './attestor.ts';
import type { AttestablePod, Peer } from './attestor.ts';

export class WorkloadSocket {
  readonly path: string;
  readonly #options: ServingOptions;
  readonly #attestor = new Attestor();
  /** Of the pods that have asked for anything. */
  readonly #servers = new Map<string, PodServer>();
  readonly #strangers = new StrangerServer();
  readonly #notices: Notices;
  readonly #listener: Server;
  #inode = -1;

  private constructor(path: string, options: ServingOptions) {
    this.path = path;
    this.#options = options;
    this.#notices = new Notices(options.clock);
    this.#listener = createServer((connection) => this.#accept(connection));
  }

  /**
   * Listen on `workload.sock` in `directory`, which is made; its parents must let other users pass (mode 711). The socket takes the place
   * of one before it in one step, complete with its rights, so clients never find it missing.
   */
  static async open(directory: string, options: ServingOptions): Promise<WorkloadSocket> {
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o755);
    const socket = new WorkloadSocket(join(directory, 'workload.sock'), options);
    const bound = join(directory, `.${process.pid}.sock`);
    rmSync(bound, { force: true });
    await new Promise<void>((resolve, reject) => {
      socket.#listener.once('error', reject);
      socket.#listener.listen(bound, resolve);
    });
    chmodSync(bound, 0o666);
    socket.#inode = statSync(bound).ino;
    renameSync(bound, socket.path);
    socket.#listener.on('error', (error) => options.log.error({ reason: error.message }, 'the workload socket could not accept a connection'));
    return socket;
  }

  /** From now on processes of this pod are served. */
  enrol(pod: AttestablePod): void {
    this.release(pod.id);
    this.#attestor.enrol(pod);
  }

  /** The pod is no longer one of the mesh: its streams end, and it is a stranger. */
  release(id: string): void {
    this.#attestor.release(id);
    this.#servers.get(id)?.close('the pod has left the mesh');
    this.#servers.delete(id);
  }

  /** End what is open. The socket goes, unless the next agent's has its place by now. */
  close(): void {
    this.#listener.close();
    if (statSync(this.path, { throwIfNoEntry: false })?.ino === this.#inode) rmSync(this.path);
    for (const server of this.#servers.values()) server.close('the agent is ending');
    this.#strangers.close();
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
      this.#serverOf(attested).take(connection);
      return;
    }
    const { pid, uid } = peer.credentials;
    this.#notices.once(`${attested.reason} ${peer.namespace?.inode} ${uid}`, () => {
      this.#options.log.warn({ pid, uid, netns: peer.namespace?.inode.toString(), reason: attested.reason }, 'caller of the workload socket refused');
    });
    this.#strangers.take(connection);
  }

  #serverOf({ podId, identity }: AttestedPod): PodServer {
    const server = this.#servers.get(podId) ?? new PodServer({ podId, identity }, this.#options);
    this.#servers.set(podId, server);
    return server;
  }
}

/** Node keeps the descriptor of a connection in its handle. Node is pinned; should it move, nobody is served rather than anybody. */
function peerOf(connection: Socket): Peer {
  const fd = (connection as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (fd < 0) throw new Error('Node hides the descriptor of a connection');
  const credentials = peerCredentials(fd);
  return { credentials, namespace: peerNamespace(fd, credentials) };
}
