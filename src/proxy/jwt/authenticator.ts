/**
 * Decides about the tokens of a request by the rules of the workload it is for. One authenticator serves a worker; what it
 * knows (keys ready for use, tokens found genuine) is shared by all workloads.
 *
 * As Istio configures Envoy: the request passes when a rule accepts the tokens in its places, or when there is none in any
 * place and no rule demands one; a token that no rule accepts is refused, and all tokens in the places of the accepting rule
 * must be valid.
 */
import type { Clock } from '../../core/clock.ts';
import { JWT_WAITING_MAX, KEY_RINGS_MAX } from '../../core/limits.ts';
import type { JwtRule } from '../../mesh/security.ts';
import type { RequestHead } from '../head.ts';
import type { JwtFault } from './fault.ts';
import type { JwksSource, JwksTarget } from './jwks-source.ts';
import { targetOf } from './jwks-source.ts';
import { KeyRing } from './key-ring.ts';
import { parseKeySet } from './public-key.ts';
import type { PublicKey } from './public-key.ts';
import { TokenCache } from './token-cache.ts';
import { findTokens } from './token-places.ts';
import { parseToken, plainAudience, timeFault } from './token.ts';
import type { Token } from './token.ts';

export type Decision = { readonly rule: JwtRule; readonly token: Token } | { readonly fault: JwtFault };

/** The decision needs something that is not here yet: calls `then` once when it may be. Returns how to stop waiting. */
export type Wait = (then: () => void) => () => void;

/** Where the keys of a rule are. */
interface KeySource {
  readonly target: JwksTarget | undefined;
  /** Of keys given inline. */
  readonly ring: KeyRing | undefined;
}

const NO_KEYS = new KeyRing([]);

export class Authenticator {
  readonly cache = new TokenCache();
  readonly #source: JwksSource;
  readonly #clock: Clock;
  readonly #sources = new WeakMap<JwtRule, KeySource>();
  /** By the text of the key set. A new configuration makes new rules, but seldom new keys. */
  readonly #inline = new Map<string, KeyRing>();
  readonly #fetched = new WeakMap<readonly PublicKey[], KeyRing>();
  /** Checks under way: many requests with one new token cost one. */
  readonly #checks = new WeakMap<KeyRing, Map<string, Promise<JwtFault | undefined>>>();
  #waiting = 0;

  constructor(source: JwksSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** The check of a request's tokens; undefined when it has none and needs none. */
  check(rules: readonly JwtRule[], head: RequestHead): TokenCheck | undefined {
    let found: { readonly rule: JwtRule; readonly tokens: readonly string[] }[] | undefined;
    for (const rule of rules) {
      const tokens = findTokens(head, rule);
      if (tokens.length > 0 || rule.required) (found ??= []).push({ rule, tokens });
    }
    return found === undefined ? undefined : new TokenCheck(this, found);
  }

  get source(): JwksSource {
    return this.#source;
  }

  get wallMs(): number {
    return this.#clock.wallMs();
  }

  /** Another request may wait. */
  get mayWait(): boolean {
    return this.#waiting < JWT_WAITING_MAX;
  }

  waits(change: 1 | -1): void {
    this.#waiting += change;
  }

  keysOf(rule: JwtRule): KeySource {
    const known = this.#sources.get(rule);
    if (known !== undefined) return known;
    const target = targetOf(rule);
    const source = { target, ring: target !== undefined ? undefined : rule.jwks === undefined ? NO_KEYS : this.#inlineRing(rule.jwks) };
    this.#sources.set(rule, source);
    return source;
  }

  fetchedRing(keys: readonly PublicKey[]): KeyRing {
    const ring = this.#fetched.get(keys) ?? new KeyRing(keys);
    this.#fetched.set(keys, ring);
    return ring;
  }

  /** Check the signature; a genuine token is remembered. */
  async verify(sent: SentToken, token: Token, ring: KeyRing): Promise<JwtFault | undefined> {
    const checks = this.#checks.get(ring) ?? new Map<string, Promise<JwtFault | undefined>>();
    this.#checks.set(ring, checks);
    const underWay = checks.get(sent.key);
    if (underWay !== undefined) return underWay;
    const check = ring.verify(token, sent.text).then((fault) => {
      checks.delete(sent.key);
      if (fault === undefined) this.cache.add(sent.key, token, ring);
      return fault;
    });
    checks.set(sent.key, check);
    return check;
  }

  #inlineRing(jwks: string): KeyRing {
    const ring = this.#inline.get(jwks) ?? new KeyRing(parseKeySet(jwks) ?? []);
    this.#inline.delete(jwks);
    this.#inline.set(jwks, ring);
    const [oldest] = this.#inline.keys();
    if (this.#inline.size > KEY_RINGS_MAX && oldest !== undefined) this.#inline.delete(oldest);
    return ring;
  }
}

/** A token of the request. */
interface SentToken {
  readonly text: string;
  /** In the cache. */
  readonly key: string;
  readonly parsed: Token | JwtFault;
}

/** One request's tokens. Ask {@link decide} until it decides; each wait it asks for settles one question. */
export class TokenCheck {
  readonly #authenticator: Authenticator;
  readonly #found: readonly { readonly rule: JwtRule; readonly tokens: readonly SentToken[] }[];
  /** Signatures checked for this request. */
  readonly #checked = new Map<KeyRing, Map<SentToken, JwtFault | undefined>>();
  /** Targets whose news was waited for, each once. */
  readonly #awaited = new Set<string>();

  constructor(authenticator: Authenticator, found: readonly { readonly rule: JwtRule; readonly tokens: readonly string[] }[]) {
    this.#authenticator = authenticator;
    const sent = new Map<string, SentToken>();
    for (const { tokens } of found) for (const text of tokens) if (!sent.has(text)) sent.set(text, this.#take(text));
    this.#found = found.map(({ rule, tokens }) => ({ rule, tokens: tokens.map((text) => sent.get(text) as SentToken) }));
  }

  /** What becomes of the request, or what that depends on. */
  decide(): Decision | Wait {
    // As Envoy: of the rules' complaints the one that is not merely about another issuer, or no token.
    let fault: JwtFault = 'missing';
    for (const { rule, tokens } of this.#found) {
      const outcome = this.#judge(rule, tokens);
      if (typeof outcome === 'function') return outcome;
      if (typeof outcome !== 'string') return { rule, token: outcome };
      if (fault === 'missing' || (outcome !== 'missing' && outcome !== 'unknown_issuer')) fault = outcome;
    }
    return { fault };
  }

  /** The rule's verdict on all tokens in its places; they must all be valid, lest the application read another than we did. */
  #judge(rule: JwtRule, tokens: readonly SentToken[]): Token | JwtFault | Wait {
    let accepted: Token | undefined;
    for (const sent of tokens) {
      const { parsed } = sent;
      const fault = typeof parsed === 'string' ? parsed : (this.#claimFault(rule, sent, parsed) ?? this.#signatureFault(rule, sent, parsed));
      if (fault !== undefined) return fault;
      accepted ??= parsed as Token;
    }
    return accepted ?? 'missing';
  }

  #claimFault(rule: JwtRule, sent: SentToken, token: Token): JwtFault | undefined {
    if (rule.issuer !== '' && token.issuer !== rule.issuer) return 'unknown_issuer';
    const fault = timeFault(token, this.#authenticator.wallMs);
    if (fault === 'expired') this.#authenticator.cache.remove(sent.key);
    if (fault !== undefined || rule.audiences.length === 0) return fault;
    const wanted = rule.audiences.map(plainAudience);
    return token.audiences.some((audience) => wanted.includes(plainAudience(audience))) ? undefined : 'audience';
  }

  #signatureFault(rule: JwtRule, sent: SentToken, token: Token): JwtFault | Wait | undefined {
    const { target, ring } = this.#authenticator.keysOf(rule);
    if (target === undefined) return this.#verified(ring as KeyRing, sent, token);
    const state = this.#authenticator.source.state(target);
    if (state === undefined) return this.#news(target) ?? 'fetch_failed';
    if (state.keys === undefined) return 'fetch_failed';
    const fault = this.#verified(this.#authenticator.fetchedRing(state.keys), sent, token);
    // The issuer may have begun to use a new key since.
    if (fault === 'no_matching_key' && !this.#awaited.has(target.key) && this.#authenticator.source.refresh(target)) return this.#news(target) ?? fault;
    return fault;
  }

  #verified(ring: KeyRing, sent: SentToken, token: Token): JwtFault | Wait | undefined {
    if (this.#authenticator.cache.isGenuine(sent.key, ring)) return undefined;
    const checked = this.#checked.get(ring);
    if (checked?.has(sent) === true) return checked.get(sent);
    return ring.mismatch(token) ?? this.#verification(ring, sent, token);
  }

  #verification(ring: KeyRing, sent: SentToken, token: Token): Wait {
    return (then) => {
      let stopped = false;
      const check = async (): Promise<void> => {
        const fault = await this.#authenticator.verify(sent, token, ring);
        const checked = this.#checked.get(ring) ?? new Map<SentToken, JwtFault | undefined>();
        this.#checked.set(ring, checked.set(sent, fault));
        if (!stopped) then();
      };
      void check();
      return () => {
        stopped = true;
      };
    };
  }

  /** Wait for the target's next state; undefined when that was done already. */
  #news(target: JwksTarget): Wait | undefined {
    if (this.#awaited.has(target.key)) return undefined;
    this.#awaited.add(target.key);
    return (then) => this.#authenticator.source.whenNews(target, then);
  }

  #take(text: string): SentToken {
    const key = TokenCache.keyOf(text);
    return { text, key, parsed: this.#authenticator.cache.get(key) ?? parseToken(text) };
  }
}
