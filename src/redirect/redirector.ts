/**
 * Capture of a pod's TCP traffic, behind one interface with two implementations: rules of iptables, and BPF programs with
 * neither rules nor conntrack. test/spec/redirector.ts is the one suite both pass.
 *
 * What both do. Outbound: a connect leaving the pod arrives at the listener on loopback:15001. Inbound: a connection from
 * outside to any port of the pod arrives at port 15006. Untouched: UDP, loopback, the pod's own addresses, HBONE (15008), the
 * agent's own sockets (mark 0x539, or 0x111 towards the application) and what the pod's annotations exclude. An agent that is
 * gone leaves capture in force: new connections are refused rather than let around the mesh's policy.
 */
import type { Exclusions } from './exclusions.ts';

export type RedirectKind = 'iptables' | 'ebpf';

export interface PodTarget {
  /** `namespace/name`. */
  readonly id: string;
  /** Path of the pod's network namespace: /run/netns/NAME or /proc/PID/ns/net. */
  readonly netnsPath: string;
  readonly addresses: readonly string[];
  readonly exclusions: Exclusions;
}

/** Listening descriptors born in the pod's namespace (`openListeners`). The main thread owns them; workers accept on dups. */
export interface PodListeners {
  readonly outbound: readonly number[];
  readonly inbound: readonly number[];
  readonly hbone: readonly number[];
}

/** How a worker finds where an accepted connection was going (`openOriginalDst`). Plain data, to cross threads. */
export type OriginalDst =
  | { readonly kind: 'conntrack' }
  | { readonly kind: 'bpf'; /** Pin of the map `accepted`. */ readonly mapPath: string };

/** One difference between what should be and what is, in words for a log line. */
export interface Drift {
  readonly podId: string;
  readonly expected: string;
  readonly found: string;
}

export interface Redirector {
  readonly kind: RedirectKind;
  /** Names of annotations' settings that this backend cannot honour for a pod, each with the reason. Empty: it honours all. */
  unsupported(exclusions: Exclusions): readonly string[];
  /** Begin to capture, or converge on `pod` whatever an earlier agent (or an earlier call) left in its namespace. */
  enrol(pod: PodTarget, listeners: PodListeners): OriginalDst;
  /**
   * Stop capturing new connections; those established live on. Until `served` resolves, connections may be passed on to the
   * application that cannot be seen from here. Does nothing for a pod that is not enrolled.
   */
  release(podId: string, served?: Promise<void>): void;
  /** Differences between what enrol made and what is there now. Cheap while nothing has changed. */
  check(podId: string): readonly Drift[];
  /** Make what `check` found missing again. */
  repair(podId: string): void;
  /** Finish what releases had to leave for connections that were open then. */
  tidy(): void;
  /**
   * Once, after the first enrolments of an agent: remove what an earlier agent left of pods that are gone, and in the
   * namespaces `netnsPaths` of pods that are not enrolled.
   */
  removeLeftovers(netnsPaths: readonly string[]): void;
  /** Pods enrolled now. */
  readonly podIds: readonly string[];
  /** keep: leave capture in force for the next agent, as in an upgrade. Otherwise remove every trace. */
  close(options: { keep: boolean }): void;
}
