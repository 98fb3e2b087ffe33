/** All that a CA must remember: the roots it trusts, and what it signs with. Plain data; it holds private keys. */

export interface CaRoot {
  /** PEM; it also tells roots apart. */
  readonly certificate: string;
  /** PKCS#8 PEM; empty when only the intermediate's key was given. */
  readonly key: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Since when it is handed out with each answer. */
  readonly trustedFromMs: number;
  /** Since when nothing is signed under it any more; undefined while it is in use, or is to stay. */
  readonly retiredMs?: number;
}

/** A CA certificate with its key, ready to sign leaves: an intermediate, or a root that was given without one. */
export interface CaSigner {
  /** PEM. */
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PEM of what follows the leaf in a chain: this certificate and those above it, without the root. */
  readonly chain: string;
  /** The root it chains to: its {@link CaRoot.certificate}. */
  readonly root: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface CaState {
  /** The oldest first. */
  readonly roots: readonly CaRoot[];
  readonly signer: CaSigner;
  /** Under a root that is trusted already, but not yet by everybody. */
  readonly next?: CaSigner;
  /** The longest life that any leaf was ever allowed. */
  readonly longestLeafMs: number;
}

/** PEM of every root that is trusted. */
export function bundleOf(state: CaState): string {
  return state.roots.map(({ certificate }) => certificate).join('');
}

/** A root is trusted from now on, and what will sign under it stands ready. */
export function introduceRoot(state: CaState, root: CaRoot, next: CaSigner): CaState {
  return { ...state, roots: [...state.roots, root], next };
}

/** What stood ready signs; the root before it is retired, unless it is among those that are to `stay`. */
export function activateNext(state: CaState, nowMs: number, stay: readonly string[]): CaState {
  const { next, ...rest } = state;
  if (next === undefined) return state;
  const retires = (root: CaRoot): boolean => root.certificate === state.signer.root && next.root !== root.certificate && !stay.includes(root.certificate);
  return { ...rest, signer: next, roots: state.roots.map((root) => (retires(root) ? { ...root, retiredMs: nowMs } : root)) };
}

/** What an operator gives: what signs, and every root to be trusted, its own among them. */
export interface GivenCa {
  readonly signer: CaSigner;
  readonly roots: readonly { readonly certificate: string; readonly notBeforeMs: number; readonly notAfterMs: number }[];
}

/**
 * Bring the state in line with what is given now. A new signer under a root that signs already takes over at once; one under another root waits
 * as `next`. Roots that are no longer given retire, the one in use when it no longer is.
 */
export function adoptGiven(state: CaState | undefined, given: GivenCa, nowMs: number, longestLeafMs: number): CaState {
  const fresh = (root: GivenCa['roots'][number]): CaRoot => ({ ...root, key: '', trustedFromMs: nowMs });
  if (state === undefined) return { roots: given.roots.map(fresh), signer: given.signer, longestLeafMs };
  const listed = new Set(given.roots.map(({ certificate }) => certificate));
  const known = new Set(state.roots.map(({ certificate }) => certificate));
  const sameRoot = given.signer.root === state.signer.root;
  const roots = state.roots.map((root): CaRoot => {
    const { retiredMs, ...rest } = root;
    if (listed.has(root.certificate) || root.certificate === state.signer.root) return rest;
    return { ...rest, retiredMs: retiredMs ?? nowMs };
  });
  return {
    roots: [...roots, ...given.roots.filter(({ certificate }) => !known.has(certificate)).map(fresh)],
    signer: sameRoot ? given.signer : state.signer,
    ...(sameRoot ? {} : { next: given.signer }),
    longestLeafMs,
  };
}

/** Where the keys of a CA are kept from one process to the next. */
export interface CaStore {
  load(): Promise<CaState | undefined>;
  /** Resolves when the state would survive the end of the process. */
  save(state: CaState): Promise<void>;
}

/** A store that several processes sign from. One of them takes the steps of the CA; the others follow what it keeps. */
export interface SharedCaStore extends CaStore {
  readonly leads: boolean;
}

/** What a store holds is not what was last loaded: another process has changed it. */
export class StoreConflict extends Error {}

/** Keeps nothing: a new process has a new root. */
export class MemoryCaStore implements CaStore {
  #state: CaState | undefined;

  async load(): Promise<CaState | undefined> {
    return this.#state;
  }

  async save(state: CaState): Promise<void> {
    this.#state = state;
  }
}
