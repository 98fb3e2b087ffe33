/** A CA of our own making: its first root and intermediate, and those that follow. */
import type { CaRoot, CaSigner, CaState, CaStore } from './ca-state.ts';
import { mintIntermediate, mintRoot } from './mint.ts';
import type { MintedCa } from './mint.ts';
import type { Lifetimes } from './rotation.ts';
import { Signer } from './signer.ts';

export interface Terms {
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  readonly nowMs: number;
}

/** What the store kept, or a root and an intermediate made now, which it keeps from now on. */
export async function openOwnCa(store: CaStore, terms: Terms): Promise<CaState> {
  const { leafMs } = terms.lifetimes;
  const kept = await store.load();
  if (kept !== undefined && kept.longestLeafMs >= leafMs) return kept;
  const state = kept === undefined ? await newState(terms) : { ...kept, longestLeafMs: leafMs };
  await store.save(state);
  return state;
}

/** A root, trusted from now on, with an intermediate under it. */
export async function makeRoot({ trustDomain, lifetimes, nowMs }: Terms): Promise<{ root: CaRoot; signer: CaSigner }> {
  const { certificate, key, notBeforeMs, notAfterMs } = await mintRoot({ trustDomain, nowMs, lifetimeMs: lifetimes.rootMs });
  const root: CaRoot = { certificate, key, notBeforeMs, notAfterMs, trustedFromMs: nowMs };
  return { root, signer: await makeIntermediate(root, { trustDomain, lifetimes, nowMs }) };
}

export async function makeIntermediate(root: CaRoot, { trustDomain, lifetimes, nowMs }: Terms): Promise<CaSigner> {
  const minted = await mintIntermediate(await Signer.open(root.certificate, root.key), { trustDomain, nowMs, lifetimeMs: lifetimes.intermediateMs });
  return signerOf(minted, root.certificate);
}

async function newState(terms: Terms): Promise<CaState> {
  const { root, signer } = await makeRoot(terms);
  return { roots: [root], signer, longestLeafMs: terms.lifetimes.leafMs };
}

function signerOf({ certificate, key, notBeforeMs, notAfterMs }: MintedCa, root: string): CaSigner {
  return { certificate, key, chain: certificate, root, notBeforeMs, notAfterMs };
}
