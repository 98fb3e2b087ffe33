/**
 * From a process to its pod. All containers of a pod share its network namespace and nothing else does, so the namespace that a
 * caller is in says whose it is, whichever user it runs as.
 */
import type { AttestedPod } from '../certs/workload-api/pod-server.ts';
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

export type Attestation = AttestedPod | { readonly reason: string };

interface Known {
  readonly pod: AttestablePod;
  /** When it was enrolled. */
  readonly namespace: NamespaceId | undefined;
}

export class Attestor {
  readonly #known = new Map<string, Known>();
  readonly #own = namespaceAt('/proc/self/ns/net');

  enrol(pod: AttestablePod): void {
    this.#known.set(pod.id, { pod, namespace: namespaceAt(pod.netnsPath) });
  }

  release(id: string): void {
    this.#known.delete(id);
  }

  /** Is what was found of a caller still so? */
  isEnrolled({ podId, identity }: AttestedPod): boolean {
    return this.#known.get(podId)?.pod.identity === identity;
  }

  identify({ credentials, namespace }: Peer): Attestation {
    if (credentials.pid === 0) return { reason: 'its process is not visible from the agent\'s PID namespace; the agent needs hostPID' };
    if (namespace === undefined) return { reason: 'its process has ended' };
    if (same(namespace, this.#own)) return { reason: 'it is in the network namespace of the node, so it is no pod of its own' };
    const found = [...this.#known.values()].filter((known) => same(namespace, known.namespace) && isThere(known));
    const [first] = found;
    if (first === undefined) return { reason: 'its network namespace belongs to no enrolled pod' };
    if (found.length > 1) return { reason: `its network namespace belongs to several pods: ${found.map(({ pod }) => pod.id).join(', ')}` };
    return { podId: first.pod.id, identity: first.pod.identity };
  }
}

/** The number of a namespace that is gone may be given to the next. One that can still be looked up is not gone. */
function isThere({ pod, namespace }: Known): boolean {
  const now = namespaceAt(pod.netnsPath);
  return now !== undefined && same(now, namespace);
}

function same(one: NamespaceId, other: NamespaceId | undefined): boolean {
  return other !== undefined && one.inode === other.inode && one.device === other.device;
}
