/**
 * The one shape of the data plane: an exchange is a request pushed one way and a response pushed the other way. Codecs and
 * layers know nothing else. Nothing here is a stream, a promise or an event emitter: each step is one method call.
 *
 *            downstream codec                    layers                     upstream codec
 *   bytes →  parse head      ── Service.serve ──→  …  ── Service.serve ──→  write head        → bytes
 *            parse body      ── RequestSink.data ─────────────────────────→ write body
 *   bytes ←  write response  ←─ ResponseSink.head / data / end ───────────  parse response    ← bytes
 *
 * Order: head (informational heads before it), then data*, then end or abort, exactly once; nothing after either.
 * Back-pressure: `data` returning false means "I keep this, send nothing more until told": the receiver of request data
 * then calls `ResponseSink.resumeRequest()`, the receiver of response data calls `RequestSink.resumeResponse()`.
 * Ownership: a chunk is borrowed for the length of the call (it is usually a view of a shared read buffer); copy to keep. A
 * receiver that answers false may go on reading it until it resumes the sender, who leaves the buffer alone meanwhile.
 * After a 101 (or a 2xx to CONNECT) both directions carry raw bytes by the same calls, and `end` is a half-close.
 */
import type { MeshError } from '../core/errors.ts';
import type { Exchange } from './record.ts';
import type { RequestHead, ResponseHead } from './head.ts';
import type { HeaderList } from './headers.ts';

export interface RequestSink {
  data(chunk: Buffer): boolean;
  /** The request is complete. */
  end(trailers: HeaderList | undefined): void;
  /** The client is gone or broke the protocol: stop, free the upstream; no more calls on the response sink. */
  abort(error: MeshError): void;
  /** The client can take response data again. */
  resumeResponse(): void;
}

export interface ResponseSink {
  /** 100 Continue, 103 Early Hints: passed on at once, any number before the head. */
  informational(head: ResponseHead): void;
  head(head: ResponseHead): void;
  data(chunk: Buffer): boolean;
  end(trailers: HeaderList | undefined): void;
  /** No (complete) response will come. Before `head` it becomes a local reply; after it, the client's connection is cut. */
  abort(error: MeshError): void;
  /** The upstream can take request data again. */
  resumeRequest(): void;
}

/** Something that takes requests: a layer, the router, a pool of upstream connections, the inbound stack of a local pod. */
export interface Service {
  /** Begin an exchange. The returned sink takes the request's body; it may have called `response` already. */
  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink;
}

/** For whoever has already answered: swallows the rest of the request. */
export const DISCARD: RequestSink = Object.freeze({
  data: () => true,
  end: () => undefined,
  abort: () => undefined,
  resumeResponse: () => undefined,
});
