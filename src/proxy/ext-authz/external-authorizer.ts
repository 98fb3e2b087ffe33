/**
 * Asks the providers of CUSTOM policies about what comes to one pod, and does as they say. The question goes out from the pod
 * that is being protected, through its own clusters.
 */
import { MeshError } from '../../core/errors.ts';
import { EXT_AUTHZ_CHECKS_MAX } from '../../core/limits.ts';
import type { Logger } from '../../core/log.ts';
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import { refuse } from '../refusal.ts';
import type { Caller } from './call.ts';
import { CheckedRequest } from './checked-request.ts';
import type { BodyLimit } from './checked-request.ts';
import { GrpcChecker } from './grpc-check.ts';
import { HttpChecker } from './http-check.ts';
import { applyChanges, isFraming } from './outcome.ts';
import type { Allowed, CheckOutcome, Denied, HeaderChange } from './outcome.ts';
import type { CheckSubject, Checker } from './subject.ts';
import { ForwardingResponse } from '../layers/forwarding-response.ts';

/** Tells the application that nobody could be asked; from a client it is a forgery. */
const FAILURE_MODE_ALLOWED = 'x-envoy-auth-failure-mode-allowed';

export class ExternalAuthorizer {
  readonly #caller: Caller;
  readonly #log: Logger;
  readonly #checkers = new WeakMap<ExtAuthzProvider, Checker>();
  /** Names of providers that could not be asked last time. */
  readonly #failing = new Set<string>();
  #underWay = 0;

  constructor(caller: Caller, log: Logger) {
    this.#caller = caller;
    this.#log = log;
  }

  /** Pass the request to `next` if the provider agrees; otherwise answer it. */
  serve(provider: ExtAuthzProvider, exchange: Exchange, head: RequestHead, response: ResponseSink, next: Service): RequestSink {
    const limit = bodyLimit(provider, head);
    const refuseTooLarge = (): RequestSink => refuseBody(provider, exchange, response);
    if (limit?.mayBePart === false && head.contentLength > limit.bytes) return refuseTooLarge();
    // A copy: a client agent on this node may have to send its own again, to somebody else.
    const checked = head.clone();
    checked.headers.remove(FAILURE_MODE_ALLOWED);
    if (limit !== undefined) checked.expectContinue = false;
    const request = new CheckedRequest({
      response,
      buffers: this.#caller.clusters.buffers,
      limit,
      expectsContinue: head.expectContinue,
      ask: (body, partial, done) => this.#check(provider, { exchange, head: checked, body, partial }, done),
      act: (outcome) => this.#act(outcome, provider, { exchange, head: checked, response, next }),
      refuseTooLarge,
    });
    request.begin();
    return request;
  }

  /** Ask about an opaque connection. `done` is called once, never after the returned function, which is not to be called after it. */
  connection(provider: ExtAuthzProvider, exchange: Exchange, done: (error: MeshError | undefined) => void): () => void {
    return this.#check(provider, { exchange, head: undefined, body: undefined, partial: false }, (outcome) => {
      this.#note(outcome, provider);
      if (outcome.kind === 'denied') done(new MeshError('ext_authz_denied', { at: provider.name }));
      else done(outcome.kind === 'error' && !provider.failOpen ? new MeshError('ext_authz_error', { at: provider.name, reason: outcome.reason }) : undefined);
    });
  }

  #act(outcome: CheckOutcome, provider: ExtAuthzProvider, { exchange, head, response, next }: Passage): RequestSink {
    this.#note(outcome, provider);
    switch (outcome.kind) {
      case 'allowed':
        changeRequest(head, outcome);
        return next.serve(exchange, head, outcome.responseHeaders.length === 0 ? response : new ChangedResponse(outcome.responseHeaders, response));
      case 'denied':
        return deny(outcome, provider, exchange, response);
      case 'error':
        if (!provider.failOpen) return refuse({ error: new MeshError('ext_authz_error', { at: provider.name, reason: outcome.reason }), status: provider.statusOnError, body: '' }, exchange, response);
        head.headers.set(FAILURE_MODE_ALLOWED, 'true');
        return next.serve(exchange, head, response);
    }
  }

  #check(provider: ExtAuthzProvider, subject: CheckSubject, done: (outcome: CheckOutcome) => void): () => void {
    if (this.#underWay >= EXT_AUTHZ_CHECKS_MAX) {
      done({ kind: 'error', reason: `${EXT_AUTHZ_CHECKS_MAX} questions are under way` });
      return () => undefined;
    }
    this.#underWay += 1;
    const stop = this.#checkerOf(provider).check(subject, (outcome) => {
      this.#underWay -= 1;
      done(outcome);
    });
    return () => {
      this.#underWay -= 1;
      stop();
    };
  }

  #checkerOf(provider: ExtAuthzProvider): Checker {
    const known = this.#checkers.get(provider);
    if (known !== undefined) return known;
    const checker = provider.kind === 'http' ? new HttpChecker(this.#caller, provider) : new GrpcChecker(this.#caller, provider);
    this.#checkers.set(provider, checker);
    return checker;
  }

  /** Says once when a provider begins to fail, and once when it is back. */
  #note(outcome: CheckOutcome, { name, failOpen }: ExtAuthzProvider): void {
    const failed = outcome.kind === 'error';
    if (failed === this.#failing.has(name)) return;
    if (failed) {
      this.#failing.add(name);
      this.#log.warn({ provider: name, reason: outcome.reason, workload: this.#caller.workload.id }, failOpen ? 'an authorizer cannot be asked: requests pass unchecked (failOpen)' : 'an authorizer cannot be asked: requests are refused');
    } else {
      this.#failing.delete(name);
      this.#log.info({ provider: name, workload: this.#caller.workload.id }, 'an authorizer answers again');
    }
  }
}

/** A request on its way through. */
interface Passage {
  readonly exchange: Exchange;
  readonly head: RequestHead;
  readonly response: ResponseSink;
  readonly next: Service;
}

/** Undefined: the authorizer is not shown the body, or there is none. What follows a tunnel's head is no body (Envoy). */
function bodyLimit({ includeRequestBodyInCheck: include }: ExtAuthzProvider, { contentLength, upgrade, method }: RequestHead): BodyLimit | undefined {
  if (include === undefined || contentLength === 0 || upgrade !== undefined || method === 'CONNECT') return undefined;
  return { bytes: include.maxRequestBytes, mayBePart: include.allowPartialMessage };
}

/** Whatever the provider does when it cannot be asked: this is a limit of its own (Istio, includeRequestBodyInCheck). */
function refuseBody({ name, includeRequestBodyInCheck }: ExtAuthzProvider, exchange: Exchange, response: ResponseSink): RequestSink {
  const reason = `maxRequestBytes ${includeRequestBodyInCheck?.maxRequestBytes} of ${name}`;
  return refuse({ error: new MeshError('ext_authz_body_too_large', { at: name, reason }), body: 'Payload Too Large' }, exchange, response);
}

function changeRequest(head: RequestHead, { requestHeaders, removeRequestHeaders }: Allowed): void {
  applyChanges(head.headers, requestHeaders);
  for (const name of removeRequestHeaders) if (!isFraming(name)) head.headers.remove(name);
}

function deny({ status, headers, body }: Denied, provider: ExtAuthzProvider, exchange: Exchange, response: ResponseSink): RequestSink {
  const list = new HeaderList();
  applyChanges(list, headers);
  return refuse({ error: new MeshError('ext_authz_denied', { at: provider.name }), status, headers: list, body }, exchange, response);
}

/** The application's answer, with what the authorizer adds to it. */
class ChangedResponse extends ForwardingResponse {
  readonly #changes: readonly HeaderChange[];

  constructor(changes: readonly HeaderChange[], response: ResponseSink) {
    super(response);
    this.#changes = changes;
  }

  override head(head: ResponseHead): void {
    applyChanges(head.headers, this.#changes);
    this.response.head(head);
  }
}
