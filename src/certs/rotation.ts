/**
 * When a CA changes its root and its intermediate. Pure: it is told the time.
 *
 * A root changes in three steps, so that nobody ever meets a certificate he cannot verify:
 * 1. The new root is trusted: it goes out with every answer of the CA. Nothing is signed under it.
 * 2. After the longest life of a leaf, every certificate still alive has come with an answer that held the new root, so whoever can take
 *    part in a handshake at all trusts it. From then on the new root signs.
 * 3. After the longest life of a leaf again, none that chains to the old root is alive. It is no longer trusted.
 *
 * An intermediate travels with the leaf, so it changes in one step; it does so while leaves still fit within what is left of its life.
 */
import type { CaRoot, CaState } from './ca-state.ts';

/** How long certificates live. */
export interface Lifetimes {
  readonly leafMs: number;
  readonly intermediateMs: number;
  readonly rootMs: number;
}

export type Step =
  /** Make a root and an intermediate under it; trust the root. */
  | 'introduce-root'
  /** Sign with `next`; retire the root before it. */
  | 'activate-root'
  | 'renew-intermediate'
  /** Forget the roots that no live certificate chains to. */
  | 'drop-roots';

/** Part of its life after which a root, or an intermediate, is replaced. */
const ROOT_PART = 0.8;
const INTERMEDIATE_PART = 2 / 3;
/** Answers under way and clocks that differ: what is waited on top of a leaf's life, at least. */
const MARGIN_MS = 10_000;

/** A wait after which everything issued before it has expired: the longest life of a leaf, and a margin. */
export function overlapMs(longestLeafMs: number): number {
  return longestLeafMs + Math.max(MARGIN_MS, longestLeafMs / 10);
}

/** What is wrong with a set of lifetimes, in words; undefined when rotation can keep its promise with them. */
export function lifetimesProblem({ leafMs, intermediateMs, rootMs }: Lifetimes): string | undefined {
  const overlap = overlapMs(leafMs);
  if (leafMs < 1000) return 'the lifetime of certificates must be 1s or more';
  if (intermediateMs < 3 * overlap) return `the intermediate must live ${seconds(3 * overlap)} or longer with certificates of ${seconds(leafMs)}, or it could not be renewed in time`;
  if (rootMs < 6 * overlap) return `the root must live ${seconds(6 * overlap)} or longer with certificates of ${seconds(leafMs)}, or it could not be renewed in time`;
  return rootMs < intermediateMs ? 'the root must live as long as the intermediate, or longer' : undefined;
}

/** The next step, and when it is due (perhaps long ago). Roots and intermediates that were given are left to whoever gives them. */
export function nextStep(state: CaState, lifetimes: Lifetimes): { step: Step; dueMs: number } {
  const steps: { step: Step; dueMs: number }[] = [
    { step: 'activate-root', dueMs: activationMs(state) },
    { step: 'drop-roots', dueMs: Math.min(...state.roots.map((root) => dropMs(root, state.longestLeafMs))) },
    { step: 'renew-intermediate', dueMs: intermediateRenewalMs(state, lifetimes) },
    { step: 'introduce-root', dueMs: introductionMs(state, lifetimes) },
  ];
  return steps.reduce((first, other) => (other.dueMs < first.dueMs ? other : first));
}

/** When a root may be forgotten; Infinity while it is in use. */
export function dropMs({ retiredMs, notAfterMs }: CaRoot, longestLeafMs: number): number {
  return retiredMs === undefined ? Infinity : Math.max(retiredMs, Math.min(retiredMs + overlapMs(longestLeafMs), notAfterMs));
}

/** When `next` may sign. With a signer that has expired there is nothing left to wait for. */
export function activationMs({ next, signer, roots, longestLeafMs }: CaState): number {
  if (next === undefined) return Infinity;
  const trustedFromMs = roots.find(({ certificate }) => certificate === next.root)?.trustedFromMs ?? Infinity;
  return Math.min(trustedFromMs + overlapMs(longestLeafMs), signer.notAfterMs);
}

function introductionMs({ next, signer, roots, longestLeafMs }: CaState, { leafMs }: Lifetimes): number {
  const root = roots.find(({ certificate }) => certificate === signer.root);
  if (next !== undefined || root === undefined || root.key === '') return Infinity;
  const { notBeforeMs, notAfterMs } = root;
  // Until it signs no more, one wait; until its last leaf has expired, another; and one in hand.
  return Math.min(notBeforeMs + (notAfterMs - notBeforeMs) * ROOT_PART, notAfterMs - 3 * overlapMs(Math.max(longestLeafMs, leafMs)));
}

function intermediateRenewalMs({ signer, roots }: CaState, { leafMs }: Lifetimes): number {
  const root = roots.find(({ certificate }) => certificate === signer.root);
  // One that lives as long as its root would not be outlived by another.
  if (root === undefined || root.key === '' || signer.notAfterMs >= root.notAfterMs) return Infinity;
  const { notBeforeMs, notAfterMs } = signer;
  return Math.min(notBeforeMs + (notAfterMs - notBeforeMs) * INTERMEDIATE_PART, notAfterMs - overlapMs(leafMs));
}

function seconds(ms: number): string {
  return `${Math.ceil(ms / 1000)}s`;
}
