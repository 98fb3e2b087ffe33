/** One exchange of a client's HTTP/2 connection: the receiver of its answer. */
import type { MeshError } from '../../core/errors.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import type { ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import { localReply } from '../respond.ts';
import { INTERNAL_ERROR } from './protocol.ts';
import { resetCode } from './reset-code.ts';
import { responseSection } from './section-writer.ts';
import type { Http2Server } from './server.ts';
import { Http2Stream } from './stream.ts';

export class ServerStream extends Http2Stream implements ResponseSink {
  request: RequestSink = DISCARD;
  readonly #server: Http2Server;
  readonly #exchange: Exchange;
  readonly #method: string;
  #answered = false;

  constructor(server: Http2Server, id: number, exchange: Exchange, method: string) {
    super(server, id);
    this.#server = server;
    this.#exchange = exchange;
    this.#method = method;
  }

  informational(head: ResponseHead): void {
    // 101 does not exist in HTTP/2 (RFC 9113 §8.6).
    if (this.dead || this.#answered || head.status === 101) return;
    this.#server.writeAnswer(this.id, (encoder) => responseSection(encoder, head, false), false);
  }

  head(head: ResponseHead): void {
    if (this.dead || this.#answered) return;
    this.#answered = true;
    const { status } = head;
    this.tunnel = this.#method === 'CONNECT' && status >= 200 && status < 300;
    if (this.tunnel) head.headers.remove('content-length');
    const bodiless = this.#method === 'HEAD' || status === 204 || status === 304;
    const ended = !this.tunnel && (bodiless || head.contentLength === 0);
    this.#server.writeAnswer(this.id, (encoder) => responseSection(encoder, head, !this.tunnel && !bodiless), ended);
    if (ended) this.sentEnd();
  }

  data(chunk: Buffer): boolean {
    return this.send(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.sendEnd(trailers);
  }

  abort(error: MeshError): void {
    if (this.dead || (this.sendEnded && !this.tunnel)) return;
    if (this.#answered) this.#server.cut(this, resetCode(error, INTERNAL_ERROR));
    else localReply(error, this.#exchange, this);
  }

  resumeRequest(): void {
    this.goOn();
  }

  override sentEnd(): void {
    super.sentEnd();
    if (!this.receiveEnded && !this.tunnel) this.#server.answeredEarly(this);
  }

  protected override received(chunk: Buffer): boolean {
    return this.request.data(chunk);
  }

  protected override receivedEnd(trailers: HeaderList | undefined): void {
    this.request.end(trailers);
  }

  protected override mayGoOn(): void {
    this.request.resumeResponse();
  }

  protected override lost(error: MeshError): void {
    this.request.abort(error);
  }
}
