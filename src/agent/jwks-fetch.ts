/** Fetches the key set of an issuer: over verified TLS (or plain HTTP, where the resource says so), bounded in every respect. */
import { get as getPlain } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { get as getSecure } from 'node:https';
import { JWKS_BYTES_MAX, JWKS_REDIRECTS_MAX } from '../core/limits.ts';
import type { JwksTarget } from '../proxy/jwt/jwks-source.ts';
import { parseKeySet } from '../proxy/jwt/public-key.ts';
import type { PublicKey } from '../proxy/jwt/public-key.ts';
import { guardedLookup, literalAddress } from './fetch-guard.ts';
import type { AddressRule } from './fetch-guard.ts';
import { placeOf } from './url-place.ts';

export interface FetchOptions {
  readonly rule: AddressRule;
  readonly signal: AbortSignal;
}

/** Statuses that name another place (RFC 9110 §15.4). */
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** The usable keys of the target, at least one. Rejects with a message for the operator; it never quotes what was fetched. */
export async function fetchKeys(target: JwksTarget, options: FetchOptions): Promise<readonly PublicKey[]> {
  const uri = target.discovery ? await discover(target.url, options) : target.url;
  const keys = parseKeySet(await fetchDocument(uri, options));
  if (keys === undefined) throw new Error(`${placeOf(uri)} is no JSON Web Key Set`);
  if (keys.length === 0) throw new Error(`${placeOf(uri)} has no public key for signatures of a supported algorithm`);
  return keys;
}

/** OpenID Connect Discovery 1.0 §4.3. */
async function discover(url: string, options: FetchOptions): Promise<string> {
  const document = parseJson(await fetchDocument(url, options));
  const uri = typeof document === 'object' && document !== null ? (document as { jwks_uri?: unknown }).jwks_uri : undefined;
  if (typeof uri !== 'string') throw new Error(`${placeOf(url)} names no jwks_uri`);
  return uri;
}

async function fetchDocument(start: string, options: FetchOptions): Promise<string> {
  let url = checked(start, undefined, options);
  for (let redirects = 0; ; redirects += 1) {
    const response = await request(url, options);
    const { statusCode = 0, headers } = response;
    if (statusCode === 200) return readBody(response, url);
    response.destroy();
    if (!REDIRECTS.has(statusCode) || headers.location === undefined) throw new Error(`${placeOf(url.href)} answered ${statusCode}`);
    if (redirects === JWKS_REDIRECTS_MAX) throw new Error(`${placeOf(start)} is redirected more than ${JWKS_REDIRECTS_MAX} times`);
    url = checked(headers.location, url, options);
  }
}

/** The next place to ask; each of a chain of redirects is held to the same rules. */
function checked(text: string, from: URL | undefined, { rule }: FetchOptions): URL {
  if (!URL.canParse(text, from)) throw new Error('the address is no URL');
  const url = new URL(text, from);
  const place = placeOf(url.href);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new Error(`${place} is neither https nor http`);
  if (from?.protocol === 'https:' && url.protocol === 'http:') throw new Error(`${placeOf(from.href)} is redirected from https to http`);
  if (url.username !== '' || url.password !== '') throw new Error(`${place} has credentials in its address`);
  const address = literalAddress(url);
  const refusal = address === undefined ? undefined : rule(address);
  if (refusal !== undefined) throw new Error(refusal);
  return url;
}

async function request(url: URL, { rule, signal }: FetchOptions): Promise<IncomingMessage> {
  return new Promise((answered, failed) => {
    const get = url.protocol === 'https:' ? getSecure : getPlain;
    const headers = { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'orlop' };
    // A connection of its own, which no proxy from the environment takes elsewhere.
    const options = { agent: false, headers, signal, lookup: guardedLookup(rule) };
    get(url, options, answered).on('error', (error) => failed(new Error(`${placeOf(url.href)}: ${reasonOf(error)}`)));
  });
}

async function readBody(response: IncomingMessage, url: URL): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > JWKS_BYTES_MAX) throw new Error(`larger than ${JWKS_BYTES_MAX} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw new Error(`${placeOf(url.href)}: ${reasonOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'AbortError') return 'no answer in time';
  // Several addresses were tried: node says nothing of its own then.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  return error.message;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
