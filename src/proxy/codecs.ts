/** Which HTTP version an upstream is spoken to in. */
import type { Protocol } from '../mesh/table.ts';
import type { DataPlane } from './dataplane.ts';
import type { RequestHead } from './head.ts';
import { Http1Client } from './http1/client.ts';
import { Http2Client } from './http2/client.ts';
import type { UpstreamCodec } from './upstream.ts';

export interface Codecs {
  readonly http1: UpstreamCodec;
  readonly http2: UpstreamCodec;
}

export function codecsOver(dataplane: DataPlane): Codecs {
  return { http1: Http1Client.codec, http2: Http2Client.over(dataplane) };
}

/**
 * What the port is declared to be (as in Istio, `http` means HTTP/1.1, whatever the client speaks). On an undeclared one, what the
 * client speaks: who reaches a port in HTTP/2 without the mesh shall with it. An upgrade (WebSocket) exists in HTTP/1 only, gRPC in HTTP/2 only.
 */
export function codecFor(codecs: Codecs, protocol: Protocol | undefined, head: RequestHead): UpstreamCodec {
  if (head.upgrade !== undefined) return codecs.http1;
  if (protocol === 'http2' || protocol === 'grpc') return codecs.http2;
  if (head.version !== 20) return codecs.http1;
  return protocol !== 'http' || head.headers.get('content-type')?.startsWith('application/grpc') === true ? codecs.http2 : codecs.http1;
}
