/** An answer on its way to the client, passed on as it is: what layers that change one part of it begin with. */
import type { MeshError } from '../../core/errors.ts';
import type { ResponseSink } from '../exchange.ts';
import type { ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';

export abstract class ForwardingResponse implements ResponseSink {
  protected readonly response: ResponseSink;

  constructor(response: ResponseSink) {
    this.response = response;
  }

  informational(head: ResponseHead): void {
    this.response.informational(head);
  }

  head(head: ResponseHead): void {
    this.response.head(head);
  }

  data(chunk: Buffer): boolean {
    return this.response.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.response.end(trailers);
  }

  abort(error: MeshError): void {
    this.response.abort(error);
  }

  resumeRequest(): void {
    this.response.resumeRequest();
  }
}
