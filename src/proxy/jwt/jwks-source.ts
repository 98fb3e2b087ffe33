/**
 * Where rules get the keys of their issuers from. A worker fetches nothing itself: the agent's main thread does, keeps the keys
 * fresh and hands them to all workers as plain data.
 */
import type { JwtRule } from '../../mesh/security.ts';
import type { PublicKey } from './public-key.ts';

/** A key set to be fetched. */
export interface JwksTarget {
  /** Equal for equal targets. */
  readonly key: string;
  readonly url: string;
  /** The document at `url` names the key set (OpenID Connect Discovery §4) instead of being it. */
  readonly discovery: boolean;
  /** For the whole fetch. */
  readonly timeoutMs: number;
}

/** The keys of a target as they are known now. */
export interface JwksState {
  /** The last good ones; undefined when there never were any. */
  readonly keys: readonly PublicKey[] | undefined;
  /** Why the last fetch brought none; empty when it did. */
  readonly failure: string;
}

export interface JwksSource {
  /** Undefined: the first fetch is not over. The same object as long as nothing changed. */
  state(target: JwksTarget): JwksState | undefined;
  /**
   * Fetch again, because a token names a key that is not among the present ones.
   * Returns false when that was done too recently for it to help.
   */
  refresh(target: JwksTarget): boolean;
  /** Call `then` at the target's next news, or when none came in time. Returns how to stop waiting. */
  whenNews(target: JwksTarget, then: () => void): () => void;
}

/** Where the rule's keys are fetched from; undefined when they are given inline, or nothing says where they are. */
export function targetOf({ jwks, jwksUri, issuer, timeoutMs }: JwtRule): JwksTarget | undefined {
  if (jwks !== undefined) return undefined;
  if (jwksUri !== undefined) return { key: jwksUri, url: jwksUri, discovery: false, timeoutMs };
  if (issuer === '') return undefined;
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  return { key: `discovery ${url}`, url, discovery: true, timeoutMs };
}
