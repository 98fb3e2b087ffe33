/** One exchange of a client's connection: the receiver of its answer. Its own object, so that a late call touches nothing else. */
import type { MeshError } from '../../core/errors.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import { LENGTH_UNKNOWN } from '../head.ts';
import type { RequestHead, ResponseHead, Version } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import { localReply } from '../respond.ts';
import type { Transport } from '../transport.ts';
import { BODY_CHUNKED, BODY_NONE, BODY_RAW, informationalText, framingOf, responseText } from './serializer.ts';
import type { BodyFraming, BodyWriter } from './serializer.ts';

/** The connection, as an exchange on it sees it. */
export interface AnswerHost {
  readonly transport: Transport;
  readonly writer: BodyWriter;
  /** The agent ends: this answer is to be the connection's last. */
  readonly draining: boolean;
  resumeRequest(): void;
  proceed(): void;
  answerEnded(exchange: ServerExchange): void;
  cut(): void;
}

export class ServerExchange implements ResponseSink {
  readonly exchange: Exchange;
  request: RequestSink = DISCARD;
  /** The request has been read to its end; in a tunnel: the client has sent FIN. */
  requestEnded = false;
  /** The final head is written. */
  answered = false;
  responseEnded = false;
  tunnel = false;
  /** The connection goes on after this exchange. */
  keep: boolean;
  readonly #host: AnswerHost;
  readonly #method: string;
  readonly #version: Version;
  /** The request may turn into a tunnel, so its end waits for the answer. */
  readonly #maySwitch: boolean;
  readonly #expectContinue: boolean;
  readonly #trailersWanted: boolean;
  #continued = false;
  #over = false;

  constructor(host: AnswerHost, exchange: Exchange, head: RequestHead | undefined, keep: boolean) {
    this.#host = host;
    this.exchange = exchange;
    this.keep = keep;
    this.#method = head?.method ?? '';
    this.#version = head?.version ?? 11;
    this.#maySwitch = head !== undefined && (head.upgrade !== undefined || head.method === 'CONNECT');
    this.#expectContinue = head?.expectContinue ?? false;
    this.#trailersWanted = head?.headers.has('te') ?? false;
  }

  /** For an answer to what is no request: the last on its connection. */
  static last(host: AnswerHost, exchange: Exchange): ServerExchange {
    const last = new ServerExchange(host, exchange, undefined, false);
    last.requestEnded = true;
    return last;
  }

  /** The client waits for a 100 that it has not got: the body of its request may never come. */
  get mayNeverComplete(): boolean {
    return this.#expectContinue && !this.#continued;
  }

  /** The request has been read to its end. */
  requestComplete(trailers: HeaderList | undefined): void {
    if (this.#maySwitch) {
      if (this.answered && !this.tunnel) this.#endRequest(trailers);
      // Otherwise the answer decides whether this was the end.
      else this.requestEnded = !this.tunnel;
      return;
    }
    this.#endRequest(trailers);
  }

  /** The client's direction of a tunnel is over. */
  endTunnel(): void {
    this.requestEnded = true;
    this.request.end(undefined);
  }

  /** Stop: the client is gone, or broke the protocol. */
  giveUp(error: MeshError): void {
    if (this.#over) return;
    this.#over = true;
    this.request.abort(error);
  }

  informational(head: ResponseHead): void {
    if (this.#over || this.answered) return;
    if (head.status === 100) this.#continued = true;
    // HTTP/1.0 knows none (RFC 9110 §15.2).
    if (this.#version === 11) this.#host.transport.write(informationalText(head));
  }

  head(head: ResponseHead): void {
    if (this.#over || this.answered) return;
    this.answered = true;
    const { status } = head;
    const host = this.#host;
    this.tunnel = status === 101 || (this.#method === 'CONNECT' && status >= 200 && status < 300);
    if (this.tunnel) head.headers.remove('content-length');
    const bodiless = this.tunnel || this.#method === 'HEAD' || status === 204 || status === 304;
    const body = this.#framing(head, bodiless);
    // In HTTP/1.0 a body of unknown length ends with the connection.
    if (!this.tunnel && (body === BODY_RAW || host.draining || (this.mayNeverComplete && !this.requestEnded))) this.keep = false;
    const connection = this.tunnel ? '' : !this.keep ? 'close' : this.#version === 10 ? 'keep-alive' : '';
    host.writer.begin(body, head.contentLength);
    host.transport.write(responseText(head, { body, connection, lengthAllowed: !bodiless }));
    if (!this.#maySwitch || !this.requestEnded) return;
    if (this.tunnel) {
      this.requestEnded = false;
      host.proceed();
    } else this.#endRequest(undefined);
  }

  data(chunk: Buffer): boolean {
    return this.#over || this.responseEnded || this.#host.writer.write(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    if (this.#over || this.responseEnded) return;
    this.responseEnded = true;
    if (!this.#host.writer.end(this.#trailersWanted ? trailers : undefined)) {
      this.#over = true;
      this.#host.cut();
      return;
    }
    this.#host.answerEnded(this);
  }

  abort(error: MeshError): void {
    if (this.#over || this.responseEnded) return;
    if (!this.answered) {
      localReply(error, this.exchange, this);
      return;
    }
    this.#over = true;
    this.#host.cut();
  }

  resumeRequest(): void {
    if (!this.#over) this.#host.resumeRequest();
  }

  #endRequest(trailers: HeaderList | undefined): void {
    this.requestEnded = true;
    this.request.end(trailers);
  }

  #framing(head: ResponseHead, bodiless: boolean): BodyFraming {
    if (this.tunnel) return BODY_RAW;
    if (bodiless) return BODY_NONE;
    const framing = framingOf(head.contentLength);
    return framing === BODY_CHUNKED && head.contentLength === LENGTH_UNKNOWN && this.#version === 10 ? BODY_RAW : framing;
  }
}
