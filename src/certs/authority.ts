/**
 * A certificate authority: signs leaves for whoever its caller has authorised, and changes its intermediate and its root by itself
 * (`rotation.ts`), or follows the ones it is given. In a standalone agent it is asked directly, in `orlop control` over gRPC.
 */
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Watch } from '../core/watch.ts';
import { activateNext, adoptGiven, bundleOf, introduceRoot, StoreConflict } from './ca-state.ts';
import type { CaRoot, CaSigner, CaState, CaStore, GivenCa, SharedCaStore } from './ca-state.ts';
import { statusOf } from './ca-status.ts';
import type { CaStatus } from './ca-status.ts';
import type { CertificateAuthority, SignedCertificate, SigningRequest } from './certificate-authority.ts';
import { readCsr } from './csr.ts';
import { ExpiryWarnings } from './expiry-warnings.ts';
import { newKeyPair } from './key-pair.ts';
import { mintLeaf } from './mint.ts';
import { makeIntermediate, makeRoot, openOwnCa } from './own-ca.ts';
import type { Terms } from './own-ca.ts';
import { activationMs, dropMs, lifetimesProblem, nextStep } from './rotation.ts';
import type { Lifetimes, Step } from './rotation.ts';
import { Signer } from './signer.ts';
import type { JsonGeneralNames, PublicKeyType } from './x509.ts';

/** Files that were given, and stores that others write to, are looked at so often. */
const REREAD_MS = 5_000;
/** A step that failed is tried again after so long, then twice as long, and so on to the most. */
const RETRY_MS = { first: 5_000, most: 300_000 };
/** Timers of the event loop do not reach further than 24 days, and clocks are set: the longest sleep between two looks. */
const SLEEP_MAX_MS = 3_600_000;

/** Processes that start together make a CA each; all but one find that it has been made. */
const OPEN_TRIES = 5;

/** Well below the margin of a rotation (certs/rotation.ts). */
const SAVE_MAX_MS = 5_000;

export interface AuthorityOptions {
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  /** Keys of the CA's own making, and where they are kept; or how to read the ones it is given, which throws when they are no good. */
  readonly keys: { readonly store: CaStore } | { readonly given: () => GivenCa };
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a CA has done since it started, and when its certificates end. */
export interface AuthorityCounts {
  readonly issued: number;
  readonly rotations: Readonly<Record<'root' | 'intermediate', number>>;
  readonly rootNotAfterMs: number;
  readonly intermediateNotAfterMs: number;
  readonly trustedRoots: number;
}

export class Authority implements CertificateAuthority {
  /** PEM of every trusted root; changes while roots change. */
  readonly roots: Watch<string>;
  readonly #options: AuthorityOptions;
  readonly #warnings: ExpiryWarnings;
  #state: CaState;
  #signer: Signer;
  #given: GivenCa | undefined;
  /** Steps are taken one after the other. */
  #work: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #closed = false;
  #badReads = 0;
  #failures = 0;
  #issued = 0;
  readonly #rotations = { root: 0, intermediate: 0 };

  private constructor(options: AuthorityOptions, state: CaState, signer: Signer, given: GivenCa | undefined) {
    this.#options = options;
    this.#state = state;
    this.#signer = signer;
    this.#given = given;
    this.#warnings = new ExpiryWarnings(options.log);
    this.roots = new Watch(bundleOf(state));
  }

  /** With the keys that the store kept, new ones, or those that are given. Rejects with a sentence when that cannot be. */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const { lifetimes, keys, clock } = options;
    const problem = 'store' in keys ? lifetimesProblem(lifetimes) : undefined;
    if (problem !== undefined) throw new Error(problem);
    const given = 'given' in keys ? keys.given() : undefined;
    const state = 'store' in keys ? await openShared(keys.store, termsOf(options)) : adoptGiven(undefined, given as GivenCa, clock.wallMs(), lifetimes.leafMs);
    const authority = new Authority(options, state, await openSigner(state.signer), given);
    await authority.settle();
    return authority;
  }

  /**
   * A leaf for `identity`, whatever else the request asks for. The caller has authorised the identity. Rejects with a `CsrError` when the request
   * is no good.
   */
  async sign({ csr, identity, lifetimeMs }: SigningRequest): Promise<SignedCertificate> {
    const publicKey = await readCsr(csr);
    return this.#issue(publicKey, [{ type: 'url', value: identity }], lifetimeMs);
  }

  /** A certificate with a new key for a server of the control plane. */
  async signServer(names: { readonly dns: readonly string[]; readonly addresses: readonly string[] }): Promise<SignedCertificate & { key: string }> {
    const { pair, key } = await newKeyPair();
    const all: JsonGeneralNames = [...names.dns.map((value) => ({ type: 'dns' as const, value })), ...names.addresses.map((value) => ({ type: 'ip' as const, value }))];
    return { ...(await this.#issue(pair.publicKey, all, this.#options.lifetimes.leafMs)), key };
  }

  /** Change the root or the intermediate now. Rejects when a change of the root is under way, or the CA does not make its own. */
  async rotate(what: 'root' | 'intermediate'): Promise<void> {
    if ('given' in this.#options.keys) throw new Error('the keys of this CA are given as files; replace the files to change them');
    if (!this.#leads) throw new Error('another replica takes the steps of this CA; ask it');
    await this.#enqueue(async () => {
      if (what === 'root' && this.#state.next !== undefined) {
        throw new Error(`the root is being changed already; the new one signs from ${new Date(activationMs(this.#state)).toISOString()}`);
      }
      await this.#take(what === 'root' ? 'introduce-root' : 'renew-intermediate');
      this.#sleep();
    });
  }

  /** Resolves when every step that was due has been taken. */
  async settle(): Promise<void> {
    await this.#enqueue(async () => this.#catchUp());
  }

  counts(): AuthorityCounts {
    const { signer, roots } = this.#state;
    return {
      issued: this.#issued,
      rotations: { ...this.#rotations },
      rootNotAfterMs: rootOf(this.#state).notAfterMs,
      intermediateNotAfterMs: signer.notAfterMs,
      trustedRoots: roots.length,
    };
  }

  status(): CaStatus {
    return statusOf(this.#state);
  }

  /** No further step is taken; resolves when the one under way is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#work.catch(() => undefined);
  }

  async #issue(publicKey: PublicKeyType, names: JsonGeneralNames, lifetimeMs: number): Promise<SignedCertificate> {
    const { leafMs } = this.#options.lifetimes;
    const nowMs = this.#options.clock.wallMs();
    const { signer } = this.#state;
    if (signer.notAfterMs <= nowMs + 1000) throw new Error(`the certificate of the CA expired at ${new Date(signer.notAfterMs).toISOString()}; give it a new one`);
    const { certificate } = await mintLeaf(this.#signer, { publicKey, names, nowMs, lifetimeMs: lifetimeMs > 0 ? Math.min(lifetimeMs, leafMs) : leafMs });
    this.#issued += 1;
    return { chain: certificate + signer.chain, roots: this.roots.get() };
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => undefined);
    return done;
  }

  #sleep(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    const { clock, keys, lifetimes } = this.#options;
    const untilNextMs = nextStep(this.#state, lifetimes).dueMs - clock.wallMs();
    const reread = 'given' in keys || sharedStore(keys.store) !== undefined;
    this.#wakeAfter(Math.min(reread ? REREAD_MS : SLEEP_MAX_MS, this.#leads ? Math.max(0, untilNextMs) : REREAD_MS));
  }

  #wakeAfter(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => {
      void this.#wake();
    });
  }

  async #wake(): Promise<void> {
    try {
      await this.settle();
      this.#failures = 0;
    } catch (error) {
      const againInMs = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** this.#failures);
      this.#failures += 1;
      this.#options.log.error({ error: message(error), againInMs }, 'the CA could not change its certificates; tried again');
      if (!this.#closed) this.#wakeAfter(againInMs);
    }
  }

  /** Read what is given anew, and take every step that is due. */
  async #catchUp(): Promise<void> {
    if (this.#closed) return;
    await this.#reread();
    await this.#refresh();
    while (this.#leads) {
      const { step, dueMs } = nextStep(this.#state, this.#options.lifetimes);
      if (dueMs > this.#options.clock.wallMs()) break;
      await this.#take(step);
    }
    this.#sleep();
  }

  async #reread(): Promise<void> {
    const { keys, clock, log, lifetimes } = this.#options;
    if (!('given' in keys)) return;
    try {
      const given = keys.given();
      if (publicPart(given) !== publicPart(this.#given)) {
        await this.#adopt(adoptGiven(this.#state, given, clock.wallMs(), lifetimes.leafMs));
        this.#given = given;
        log.info({ roots: given.roots.length }, 'the CA was given other certificates');
      }
      this.#badReads = 0;
    } catch (error) {
      this.#badReads += 1;
      // Read while they were being replaced, certificate and key need not belong together yet.
      if (this.#badReads === 2) log.error({ error: message(error) }, 'the files of the CA are no good; it keeps the certificates before them');
    }
    this.#warnings.check(this.#state, clock.wallMs());
  }

  get #leads(): boolean {
    const { keys } = this.#options;
    return 'given' in keys || (sharedStore(keys.store)?.leads ?? true);
  }

  /** What another process has kept in a store that is shared is what counts. */
  async #refresh(): Promise<void> {
    const { keys, log } = this.#options;
    const store = 'store' in keys ? sharedStore(keys.store) : undefined;
    if (store === undefined) return;
    const kept = await store.load();
    if (kept !== undefined && JSON.stringify(kept) !== JSON.stringify(this.#state)) {
      await this.#use(kept);
      log.info({ roots: kept.roots.length }, 'another replica has changed the certificates of the CA');
    } else if (kept === undefined && store.leads) {
      log.warn('the store of the CA had been emptied; what this replica knows is kept there again');
      await store.save(this.#state);
    }
  }

  async #take(step: Step): Promise<void> {
    const { clock, log } = this.#options;
    const nowMs = clock.wallMs();
    const state = this.#state;
    switch (step) {
      case 'introduce-root': {
        const { root, signer } = await makeRoot(termsOf(this.#options));
        await this.#adopt(introduceRoot(state, root, signer));
        log.info({ signsFrom: new Date(activationMs(this.#state)).toISOString() }, 'a new root is trusted');
        return;
      }
      case 'activate-root':
        await this.#adopt(activateNext(state, nowMs, this.#given?.roots.map(({ certificate }) => certificate) ?? []));
        this.#rotations.root += 1;
        log.info('the new root signs; the one before it is trusted until its last certificate has expired');
        return;
      case 'renew-intermediate':
        await this.#adopt({ ...state, signer: await makeIntermediate(rootOf(state), termsOf(this.#options)) });
        this.#rotations.intermediate += 1;
        log.info({ notAfter: new Date(this.#state.signer.notAfterMs).toISOString() }, 'a new intermediate signs');
        return;
      case 'drop-roots':
        await this.#adopt({ ...state, roots: state.roots.filter((root) => dropMs(root, state.longestLeafMs) > nowMs) });
        log.info('a root is no longer trusted; no certificate that chains to it is alive');
    }
  }

  /**
   * Kept first, then used: what was handed out must never be forgotten. Leaves go on being signed meanwhile, as before the step; when that was
   * for too long, the times in `state` are no longer true, and the step is taken anew.
   */
  async #adopt(state: CaState): Promise<void> {
    const { keys, clock } = this.#options;
    const sinceMs = clock.nowMs();
    if ('store' in keys) await keys.store.save(state);
    if (clock.nowMs() - sinceMs > SAVE_MAX_MS) throw new Error(`the store took more than ${SAVE_MAX_MS / 1000} seconds to keep the keys of the CA`);
    await this.#use(state);
  }

  async #use(state: CaState): Promise<void> {
    const signer = state.signer === this.#state.signer ? this.#signer : await openSigner(state.signer);
    this.#state = state;
    this.#signer = signer;
    const roots = bundleOf(state);
    if (roots !== this.roots.get()) this.roots.set(roots);
  }
}

function sharedStore(store: CaStore): SharedCaStore | undefined {
  return 'leads' in store ? (store as SharedCaStore) : undefined;
}

async function openShared(store: CaStore, terms: Terms): Promise<CaState> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await openOwnCa(store, terms);
    } catch (error) {
      if (!(error instanceof StoreConflict) || tries === OPEN_TRIES) throw error;
    }
  }
}

function termsOf({ trustDomain, lifetimes, clock }: AuthorityOptions): Terms {
  return { trustDomain, lifetimes, nowMs: clock.wallMs() };
}

/** The root that signs. */
function rootOf({ roots, signer }: CaState): CaRoot {
  return roots.find(({ certificate }) => certificate === signer.root) as CaRoot;
}

function openSigner({ certificate, key }: CaSigner): Promise<Signer> {
  return Signer.open(certificate, key);
}

/** Tells what was given apart: every certificate in it. */
function publicPart(given: GivenCa | undefined): string {
  return given === undefined ? '' : [given.signer.certificate, given.signer.chain, ...given.roots.map(({ certificate }) => certificate)].join('');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
