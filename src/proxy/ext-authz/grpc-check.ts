/**
 * Asks an authorizer over gRPC (`envoy.service.auth.v3.Authorization/Check`), about requests and about opaque connections. The
 * call is one HTTP/2 exchange like any other of the pod's.
 */
import type { Clock } from '../../core/clock.ts';
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import { RequestHead } from '../head.ts';
import { HeaderList } from '../headers.ts';
import { call } from './call.ts';
import type { Answer, Caller } from './call.ts';
import { loadMessages } from './messages.ts';
import type { CheckRequest, CheckResponse, HeaderValueOption, HttpRequest, Messages, Peer } from './messages.ts';
import { isWritable } from './outcome.ts';
import type { CheckOutcome, HeaderChange } from './outcome.ts';
import { PARTIAL_BODY } from './subject.ts';
import type { CheckSubject, Checker } from './subject.ts';

const METHOD = '/envoy.service.auth.v3.Authorization/Check';

/** gRPC over HTTP/2, "Length-Prefixed-Message": compressed flag and length. */
const PREFIX_BYTES = 5;

const FORBIDDEN = 403;

/** envoy.config.core.v3.HeaderValueOption.HeaderAppendAction, by number. */
const APPEND_ACTIONS: readonly HeaderChange['how'][] = Object.freeze(['add', 'add-if-absent', 'set', 'set-if-present']);

export class GrpcChecker implements Checker {
  readonly #caller: Caller;
  readonly #provider: ExtAuthzProvider;

  constructor(caller: Caller, provider: ExtAuthzProvider) {
    this.#caller = caller;
    this.#provider = provider;
  }

  check(subject: CheckSubject, done: (outcome: CheckOutcome) => void): () => void {
    let stop: (() => void) | undefined;
    let stopped = false;
    const ask = async (): Promise<void> => {
      const messages = await loadMessages();
      if (stopped) return;
      const question = framed(messages.encode(questionAbout(subject, this.#provider, this.#caller.clock)));
      stop = call(this.#caller, this.#provider, this.#head(), question, (answer) => done(typeof answer === 'string' ? { kind: 'error', reason: answer } : outcomeOf(answer, messages)));
    };
    void ask();
    return () => {
      stopped = true;
      stop?.();
    };
  }

  #head(): RequestHead {
    const { cluster = '', timeoutMs } = this.#provider;
    // `|` may not stand in an authority; Istio writes it so.
    const authority = cluster.replaceAll('|', '_.');
    const headers = new HeaderList();
    headers.add('Host', authority);
    headers.add('content-type', 'application/grpc');
    headers.add('te', 'trailers');
    headers.add('grpc-timeout', grpcTimeout(timeoutMs));
    return new RequestHead('POST', METHOD, authority, 20, headers);
  }
}

/** gRPC over HTTP/2, "Timeout": at most eight digits. */
function grpcTimeout(timeoutMs: number): string {
  return timeoutMs < 100_000_000 ? `${Math.ceil(timeoutMs)}m` : `${Math.ceil(timeoutMs / 1000)}S`;
}

function questionAbout({ exchange, head, body, partial }: CheckSubject, { includeRequestBodyInCheck }: ExtAuthzProvider, clock: Clock): CheckRequest {
  const { connection } = exchange;
  const source = peer(connection.remoteAddress, connection.remotePort, connection.peer.identity);
  const destination = peer(connection.destinationAddress, connection.destinationPort, connection.workload.identity);
  if (head === undefined) return { attributes: { source, destination } };
  const wallMs = clock.wallMs() - (clock.nowMs() - exchange.startedMs);
  const http: HttpRequest = {
    id: exchange.requestId,
    method: head.method,
    headers: headersOf(head, body === undefined ? undefined : partial),
    path: utf8(head.target),
    host: utf8(head.authority),
    scheme: head.scheme,
    size: head.contentLength,
    protocol: exchange.versionText,
    ...(body === undefined ? {} : includeRequestBodyInCheck?.packAsBytes === true ? { raw_body: body } : { body: body.toString('utf8') }),
  };
  return { attributes: { source, destination, request: { time: { seconds: Math.floor(wallMs / 1000), nanos: Math.floor(wallMs % 1000) * 1_000_000 }, http } } };
}

function peer(address: string, port: number, principal: string): Peer {
  return { address: { socket_address: { address, port_value: port } }, principal };
}

/** Lower-case names, with those of HTTP/2's pseudo-headers as Envoy has them; several lines of a name are one. */
function headersOf(head: RequestHead, partial: boolean | undefined): Record<string, string> {
  const headers = new Map([[':authority', head.authority], [':method', head.method], [':path', head.target], [':scheme', head.scheme]]);
  for (let i = 0; i < head.headers.size; i += 1) {
    const name = head.headers.lowerAt(i);
    if (name === 'host' || name === PARTIAL_BODY) continue;
    const before = headers.get(name);
    headers.set(name, before === undefined ? head.headers.valueAt(i) : `${before},${head.headers.valueAt(i)}`);
  }
  if (partial !== undefined) headers.set(PARTIAL_BODY, String(partial));
  return Object.fromEntries([...headers].map(([name, value]) => [name, utf8(value)]));
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function outcomeOf(answer: Answer, messages: Messages): CheckOutcome {
  const response = responseIn(answer, messages);
  if (typeof response === 'string') return { kind: 'error', reason: response };
  const { status, ok_response: ok, denied_response: denied } = response;
  const outcome: CheckOutcome =
    (status?.code ?? 0) === 0
      ? {
          kind: 'allowed',
          // What is not said means to replace, so that a client cannot put its own value beside the authorizer's.
          requestHeaders: (ok?.headers ?? []).map((option) => changeOf(option, 'set')),
          removeRequestHeaders: (ok?.headers_to_remove ?? []).map((name) => name.toLowerCase()),
          responseHeaders: (ok?.response_headers_to_add ?? []).map((option) => changeOf(option, 'add')),
        }
      : {
          kind: 'denied',
          status: statusIn(denied?.status?.code),
          headers: (denied?.headers ?? []).map((option) => changeOf(option, 'add')),
          body: Buffer.from(denied?.body ?? ''),
        };
  const changes = outcome.kind === 'allowed' ? [...outcome.requestHeaders, ...outcome.responseHeaders] : outcome.headers;
  const invalid = changes.find((change) => !change.name.startsWith(':') && !isWritable(change));
  return invalid === undefined ? outcome : { kind: 'error', reason: `it answered with a header that is not valid: ${JSON.stringify(invalid.name)}` };
}

/** The message of an answer that is one, or why it is none. */
function responseIn({ status, headers, body, trailers }: Answer, messages: Messages): CheckResponse | string {
  if (status !== 200) return `it answered ${status}`;
  // An answer without message may say everything in its head ("Trailers-Only").
  const code = trailers?.get('grpc-status') ?? headers.get('grpc-status');
  if (code !== '0') return `it answered grpc-status ${code ?? 'none'}: ${trailers?.get('grpc-message') ?? headers.get('grpc-message') ?? ''}`;
  if (body.length < PREFIX_BYTES || body.readUInt8(0) !== 0 || body.readUInt32BE(1) !== body.length - PREFIX_BYTES) return 'it answered with something else than one uncompressed message';
  try {
    return messages.decode(body.subarray(PREFIX_BYTES));
  } catch {
    return 'it answered with something that is no CheckResponse';
  }
}

function statusIn(code: number | undefined): number {
  return code !== undefined && code >= 200 && code <= 599 ? code : FORBIDDEN;
}

function changeOf({ header, append, append_action: action }: HeaderValueOption, unsaid: HeaderChange['how']): HeaderChange {
  const how = append === null ? (action === 0 ? unsaid : (APPEND_ACTIONS[action] ?? unsaid)) : append.value ? 'add' : 'set';
  return { name: header?.key ?? '', value: octets(header?.value ?? ''), how };
}

/** Headers are octets, one a character; protobuf's strings are Unicode. */
function utf8(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8');
}

function octets(value: string): string {
  return Buffer.from(value, 'utf8').toString('latin1');
}
