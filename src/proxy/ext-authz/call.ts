/**
 * One question to an authorizer and its whole answer, within bounds. It goes the way of any request of the pod: through the
 * cluster of the provider's service, with its balancing, limits and TLS, under the identity of the pod that is being protected.
 */
import type { Clock, Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { EXT_AUTHZ_ANSWER_BYTES_MAX } from '../../core/limits.ts';
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import type { ClusterSet } from '../cluster-set.ts';
import type { Connection } from '../connection.ts';
import { deadline } from '../deadline.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import { Exchange } from '../record.ts';
import type { WorkloadHandle } from '../workload.ts';

/** The pod on whose behalf authorizers are asked. */
export interface Caller {
  readonly workload: WorkloadHandle;
  readonly clusters: ClusterSet;
  readonly clock: Clock;
}

export interface Answer {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: Buffer;
  readonly trailers: HeaderList | undefined;
}

/**
 * Authorizers of one node may be pods that a policy protects in turn, and then they are asked about within the question, in the
 * same turn of the loop. A chain that is longer than this is taken for a circle.
 */
const NESTED_CALLS_MAX = 4;

let nested = 0;

/** Ask. `done` is called once, with the answer or why there is none, never after the returned function. */
export function call(caller: Caller, provider: ExtAuthzProvider, head: RequestHead, body: Buffer, done: (answer: Answer | string) => void): () => void {
  const cluster = provider.cluster === undefined ? undefined : caller.clusters.get(provider.cluster);
  const fault =
    cluster === undefined
      ? `there is no service ${provider.service} with port ${provider.port}`
      : cluster.members.some(({ spec }) => spec.workload === caller.workload.id)
        ? 'it is the authorizer itself that it is asked about: leave it out of the CUSTOM policy'
        : nested >= NESTED_CALLS_MAX
          ? 'authorizers ask each other in a circle'
          : undefined;
  if (cluster === undefined || fault !== undefined) {
    done(fault ?? '');
    return () => undefined;
  }
  const exchange = new Exchange('source', connectionOf(caller.workload, provider), caller.workload.table, caller.clock.nowMs());
  exchange.begin(head);
  head.contentLength = body.length;
  const pending = new Call(done);
  pending.begin(caller.clock, provider.timeoutMs, (response) => cluster.serve(exchange, head, response), body);
  return () => pending.cancel();
}

class Call implements ResponseSink {
  readonly #done: (answer: Answer | string) => void;
  #request: RequestSink = DISCARD;
  #timer: Timer | undefined;
  #head: ResponseHead | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #over = false;

  constructor(done: (answer: Answer | string) => void) {
    this.#done = done;
  }

  begin(clock: Clock, timeoutMs: number, serve: (response: ResponseSink) => RequestSink, body: Buffer): void {
    this.#timer = deadline(clock, timeoutMs, () => {
      this.#giveUp(new MeshError('request_timeout'));
      this.#settle(`no answer within ${timeoutMs} ms`);
    });
    nested += 1;
    try {
      this.#request = serve(this);
      if (this.#isOver()) return;
      if (body.length > 0) this.#request.data(body);
      if (!this.#isOver()) this.#request.end(undefined);
    } finally {
      nested -= 1;
    }
  }

  cancel(): void {
    if (this.#over) return;
    this.#end();
    this.#giveUp(new MeshError('downstream_gone'));
  }

  informational(): void {
    // Only the answer counts.
  }

  head(head: ResponseHead): void {
    this.#head = head;
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return true;
    this.#bytes += chunk.length;
    if (this.#bytes > EXT_AUTHZ_ANSWER_BYTES_MAX) {
      this.#giveUp(new MeshError('downstream_gone'));
      this.#settle(`the answer is larger than ${EXT_AUTHZ_ANSWER_BYTES_MAX} bytes`);
    } else this.#chunks.push(Buffer.from(chunk));
    return true;
  }

  end(trailers: HeaderList | undefined): void {
    const head = this.#head;
    if (head !== undefined) this.#settle({ status: head.status, headers: head.headers, body: Buffer.concat(this.#chunks), trailers });
  }

  abort(error: MeshError): void {
    this.#settle(error.message);
  }

  resumeRequest(): void {
    // The whole question was sent in one piece.
  }

  #isOver(): boolean {
    return this.#over;
  }

  #giveUp(error: MeshError): void {
    this.#request.abort(error);
  }

  #settle(answer: Answer | string): void {
    if (this.#over) return;
    this.#end();
    this.#done(answer);
  }

  #end(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#chunks = [];
  }
}

/** The connection on which the pod would have asked, had it asked itself. */
function connectionOf(workload: WorkloadHandle, { port }: ExtAuthzProvider): Connection {
  return {
    workload,
    direction: 'outbound',
    peer: { identity: workload.identity, security: 'local' },
    remoteAddress: workload.addresses[0] ?? '',
    remotePort: 0,
    destinationAddress: '',
    destinationPort: port,
    serverName: '',
  };
}
