/**
 * Asks an authorizer over HTTP, as Envoy's ext_authz does: the request's method, path and chosen headers are sent again, to the
 * authorizer; 200 allows, 5xx says that it cannot tell, anything else is the client's answer.
 */
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import { RequestHead } from '../head.ts';
import { HeaderList } from '../headers.ts';
import { call } from './call.ts';
import type { Answer, Caller } from './call.ts';
import { headerTest } from './header-patterns.ts';
import type { HeaderTest } from './header-patterns.ts';
import { isFraming } from './outcome.ts';
import type { CheckOutcome, HeaderChange } from './outcome.ts';
import { PARTIAL_BODY } from './subject.ts';
import type { CheckSubject, Checker } from './subject.ts';

/** By this header an HTTP authorizer takes headers out of the request. */
const HEADERS_TO_REMOVE = 'x-envoy-auth-headers-to-remove';

/** Sent whatever the provider lists, beside Host, method, path and Content-Length. */
const ALWAYS_ASKED: readonly string[] = Object.freeze(['authorization']);

/** Part of a refusal even where the provider lists what may be. */
const ALWAYS_ANSWERED: readonly string[] = Object.freeze(['location', 'www-authenticate']);

export class HttpChecker implements Checker {
  readonly #caller: Caller;
  readonly #provider: ExtAuthzProvider;
  readonly #asked: HeaderTest;
  readonly #toUpstream: HeaderTest;
  readonly #toClientOnDeny: HeaderTest;
  readonly #toClientOnAllow: HeaderTest;

  constructor(caller: Caller, provider: ExtAuthzProvider) {
    this.#caller = caller;
    this.#provider = provider;
    this.#asked = headerTest([...provider.includeRequestHeadersInCheck, ...ALWAYS_ASKED]);
    this.#toUpstream = headerTest(provider.headersToUpstreamOnAllow);
    const onDeny = provider.headersToDownstreamOnDeny;
    this.#toClientOnDeny = onDeny.length === 0 ? () => true : headerTest([...onDeny, ...ALWAYS_ANSWERED]);
    this.#toClientOnAllow = headerTest(provider.headersToDownstreamOnAllow);
  }

  check(subject: CheckSubject, done: (outcome: CheckOutcome) => void): () => void {
    const { head, body } = subject;
    const fault = head === undefined ? 'an HTTP provider cannot be asked about opaque connections' : head.method === 'CONNECT' ? 'an HTTP provider cannot be asked about CONNECT' : undefined;
    if (head === undefined || fault !== undefined) {
      done({ kind: 'error', reason: fault ?? '' });
      return () => undefined;
    }
    return call(this.#caller, this.#provider, this.#question(head, subject), body ?? Buffer.alloc(0), (answer) => done(typeof answer === 'string' ? { kind: 'error', reason: answer } : this.#outcome(answer)));
  }

  #question(head: RequestHead, { body, partial }: CheckSubject): RequestHead {
    const { pathPrefix, includeAdditionalHeadersInCheck } = this.#provider;
    const headers = new HeaderList();
    headers.add('Host', head.authority);
    for (let i = 0; i < head.headers.size; i += 1) {
      const name = head.headers.lowerAt(i);
      if (this.#asked(name) && !isFraming(name) && name !== PARTIAL_BODY) headers.add(head.headers.nameAt(i), head.headers.valueAt(i));
    }
    headers.set('Content-Length', String(body?.length ?? 0));
    if (body !== undefined) headers.set(PARTIAL_BODY, String(partial));
    for (const { name, value } of includeAdditionalHeadersInCheck) headers.set(name, value);
    return new RequestHead(head.method, `${pathPrefix}${head.target}`, head.authority, 11, headers);
  }

  #outcome({ status, headers, body }: Answer): CheckOutcome {
    if (status >= 500) return { kind: 'error', reason: `it answered ${status}` };
    if (status !== 200) return { kind: 'denied', status, headers: chosen(headers, this.#toClientOnDeny, 'add'), body };
    const remove = headers.joined(HEADERS_TO_REMOVE)?.split(',').map((name) => name.trim().toLowerCase()) ?? [];
    return { kind: 'allowed', requestHeaders: chosen(headers, this.#toUpstream, 'set'), removeRequestHeaders: remove, responseHeaders: chosen(headers, this.#toClientOnAllow, 'add') };
  }
}

/** The first line of a name is put as `how` says, further ones beside it. */
function chosen(headers: HeaderList, test: HeaderTest, how: 'set' | 'add'): HeaderChange[] {
  const changes: HeaderChange[] = [];
  const seen = new Set<string>();
  for (let i = 0; i < headers.size; i += 1) {
    const name = headers.lowerAt(i);
    if (!test(name) || isFraming(name) || name === HEADERS_TO_REMOVE) continue;
    changes.push({ name: headers.nameAt(i), value: headers.valueAt(i), how: seen.has(name) ? 'add' : how });
    seen.add(name);
  }
  return changes;
}
