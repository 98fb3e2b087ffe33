/**
 * RequestAuthentication: looks at the tokens of a request, refuses those that are not valid, and notes what the others prove.
 * Unless a rule says otherwise it demands none: that is an AuthorizationPolicy's business, which comes after. The usual case, a token that was seen before
 * or none at all, is decided within the call; otherwise the request waits.
 */
import { MeshError } from '../../core/errors.ts';
import type { JwtRule } from '../../mesh/security.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import { HeaderList } from '../headers.ts';
import { HeldRequest } from '../held.ts';
import type { Authenticator, Decision, TokenCheck } from '../jwt/authenticator.ts';
import { authenticationOf, outputHeaders, writeClaims } from '../jwt/claims.ts';
import { JWT_FAULTS, statusOf } from '../jwt/fault.ts';
import type { JwtFault } from '../jwt/fault.ts';
import { removeTokens } from '../jwt/token-places.ts';
import type { Exchange } from '../record.ts';
import { refuse } from '../refusal.ts';
import type { Layer } from './layer.ts';

/** Of the address in `WWW-Authenticate`; Envoy's bound. */
const REALM_PATH_CHARS_MAX = 256;

export function requestAuthentication(authenticator: Authenticator): Layer {
  return (next) => new RequestAuthentication(next, authenticator);
}

class RequestAuthentication implements Service {
  readonly next: Service;
  readonly authenticator: Authenticator;

  constructor(next: Service, authenticator: Authenticator) {
    this.next = next;
    this.authenticator = authenticator;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { jwtRules: rules } = exchange.connection.workload.table.security;
    if (rules.length === 0) return this.next.serve(exchange, head, response);
    const clean = withoutForgeries(head, rules);
    // Preflights carry no credentials (Fetch standard §3.2.2), so none can be asked of them.
    const check = isPreflight(clean) ? undefined : this.authenticator.check(rules, clean);
    if (check === undefined) return this.next.serve(exchange, clean, response);
    const decision = check.decide();
    if (typeof decision !== 'function') return this.act(decision, exchange, clean, response);
    if (!this.authenticator.mayWait) {
      response.abort(new MeshError('workload_overloaded', { reason: 'too many requests wait for their tokens to be verified' }));
      return DISCARD;
    }
    const request = new AuthenticatingRequest(this, check, exchange, clean, response);
    request.await(decision);
    return request;
  }

  act(decision: Decision, exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    if ('fault' in decision) return refuseToken(decision.fault, exchange, head, response);
    const { rule, token } = decision;
    exchange.authentication = authenticationOf(token, rule);
    // A copy: a client agent on this node may have to send its own again, to somebody else.
    const admitted = head.clone();
    writeClaims(admitted, token, rule);
    if (!rule.forwardOriginalToken) {
      removeTokens(admitted, rule);
      // Nor is it for the access log.
      if (admitted.target !== head.target) exchange.path = admitted.target;
    }
    return this.next.serve(exchange, admitted, response);
  }
}

/** A request whose tokens take a while. */
class AuthenticatingRequest extends HeldRequest {
  readonly #layer: RequestAuthentication;
  readonly #check: TokenCheck;
  readonly #exchange: Exchange;
  readonly #head: RequestHead;
  readonly #sink: ResponseSink;
  #stop: (() => void) | undefined;

  constructor(layer: RequestAuthentication, check: TokenCheck, exchange: Exchange, head: RequestHead, response: ResponseSink) {
    super(response);
    this.#layer = layer;
    this.#check = check;
    this.#exchange = exchange;
    this.#head = head;
    this.#sink = response;
  }

  await(wait: (then: () => void) => () => void): void {
    this.#layer.authenticator.waits(1);
    this.#stop = wait(() => this.#decide());
  }

  protected override abandoned(_error: MeshError): void {
    const stop = this.#stop;
    if (stop === undefined) return;
    this.#settle();
    stop();
  }

  #decide(): void {
    this.#settle();
    const decision = this.#check.decide();
    if (typeof decision === 'function') this.await(decision);
    else this.proceed(() => this.#layer.act(decision, this.#exchange, this.#head, this.#sink));
  }

  #settle(): void {
    this.#stop = undefined;
    this.#layer.authenticator.waits(-1);
  }
}

/** Headers that carry claims to the application come from us or not at all, with a token or without. */
function withoutForgeries(head: RequestHead, rules: readonly JwtRule[]): RequestHead {
  let clean: RequestHead | undefined;
  for (const rule of rules) {
    for (const name of outputHeaders(rule)) if (head.headers.has(name)) (clean ??= head.clone()).headers.remove(name);
  }
  return clean ?? head;
}

function isPreflight({ method, headers }: RequestHead): boolean {
  return method === 'OPTIONS' && (headers.get('origin') ?? '') !== '' && (headers.get('access-control-request-method') ?? '') !== '';
}

function refuseToken(fault: JwtFault, exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
  const sentence = JWT_FAULTS[fault];
  const headers = new HeaderList();
  // RFC 6750 §3: whoever sent no token is not told of an error.
  headers.add('www-authenticate', `Bearer realm="${realmOf(head)}"${fault === 'missing' ? '' : ', error="invalid_token"'}`);
  const status = statusOf(fault);
  return refuse(
    {
      error: new MeshError(status === 403 ? 'jwt_audience_not_allowed' : 'jwt_invalid', { reason: sentence }),
      details: `jwt_authn_access_denied{${sentence.replaceAll(' ', '_')}}`,
      headers,
      body: sentence,
    },
    exchange,
    response,
  );
}

/** The address that was asked for, without its query: the token may be there. */
function realmOf({ scheme, authority, path }: RequestHead): string {
  return `${scheme}://${authority}${path.slice(0, REALM_PATH_CHARS_MAX)}`.replaceAll('\\', '%5C').replaceAll('"', '%22');
}
