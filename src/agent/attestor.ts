/**
 * From a process to its pod. All containers of a pod share its network namespace and nothing else does, so the namespace that a
 * caller is in says whose it is, whichever user it runs as.
 */
import type { NamespaceId, PeerCredentials } from '../sys/peer.ts';
import { namespaceAt } from '../sys/peer.ts';

export interface AttestablePod {
  /** `ns/name` */
  readonly id: string;
  /** SPIFFE id. */
  readonly identity: string;
  readonly netnsPath: string;
}

/** A process that asks, with the namespace it is in; undefined when it is gone. */
export interface Peer {
  readonly credentials: PeerCredentials;
  readonly namespace: NamespaceId | undefined;
}

export type Attestation = { readonly podId: string; readonly identity: string } | { readonly reason: string };

export class Attestor {
  readonly #pods = new Map<string, AttestablePod>();
  readonly #own: NamespaceId | undefined = namespaceAt('/proc/self/ns/net');

  enrol(pod: AttestablePod): void {
    this.#pods.set(pod.id, pod);
  }

  release(id: string): void {
    this.#pods.delete(id);
  }

  identify({ credentials, namespace }: Peer): Attestation {
    if (credentials.pid === 0) return { reason: 'its process is not visible from the agent\'s PID namespace; the agent needs hostPID' };
    if (namespace === undefined) return { reason: 'its process has ended' };
    if (same(namespace, this.#own)) return { reason: 'it is in the network namespace of the node, so it is no pod of its own' };
    // Paths are looked up each time: a number of a namespace that is gone may be given to the next.
    const found = [...this.#pods.values()].filter(({ netnsPath }) => same(namespace, namespaceAt(netnsPath)));
    const [pod] = found;
    if (pod === undefined) return { reason: 'its network namespace belongs to no enrolled pod' };
    if (found.length > 1) return { reason: `its network namespace belongs to several pods: ${found.map(({ id }) => id).join(', ')}` };
    return { podId: pod.id, identity: pod.identity };
  }
}

function same(one: NamespaceId, other: NamespaceId | undefined): boolean {
  return other !== undefined && one.inode === other.inode && one.device === other.device;
}
