/** One exchange on an HTTP/2 connection to an endpoint: the receiver of its request. */
import type { MeshError } from '../../core/errors.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import { LENGTH_UNKNOWN } from '../head.ts';
import type { ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Http2Client } from './client.ts';
import { CANCEL } from './protocol.ts';
import { resetCode } from './reset-code.ts';
import { Http2Stream } from './stream.ts';
import type { StreamFault } from './stream.ts';

export class ClientStream extends Http2Stream implements RequestSink {
  readonly method: string;
  readonly response: ResponseSink;
  /** The head of the answer has come. */
  answered = false;
  readonly #client: Http2Client;

  constructor(client: Http2Client, id: number, method: string, response: ResponseSink) {
    super(client, id);
    this.#client = client;
    this.method = method;
    this.response = response;
  }

  answer(head: ResponseHead): void {
    this.answered = true;
    this.tunnel = this.method === 'CONNECT' && head.status < 300;
    if (!this.tunnel && head.contentLength !== LENGTH_UNKNOWN && this.method !== 'HEAD') this.expect(head.contentLength);
    this.response.head(head);
  }

  data(chunk: Buffer): boolean {
    return this.send(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.sendEnd(trailers);
  }

  abort(error: MeshError): void {
    this.#client.cancel(this, resetCode(error, CANCEL));
  }

  resumeResponse(): void {
    this.goOn();
  }

  /** Content before its head is none. */
  override receive(chunk: Buffer): StreamFault | undefined {
    return this.answered ? super.receive(chunk) : 'out of place';
  }

  protected override received(chunk: Buffer): boolean {
    return this.response.data(chunk);
  }

  protected override receivedEnd(trailers: HeaderList | undefined): void {
    // The rest of a request that is answered already is of no use to anybody.
    if (!this.sendEnded && !this.tunnel) this.#client.cancel(this, CANCEL);
    this.response.end(trailers);
  }

  protected override mayGoOn(): void {
    this.response.resumeRequest();
  }

  protected override lost(error: MeshError): void {
    this.response.abort(error);
  }
}
