/** Heads written as header sections (RFC 9113 §8.3). */
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { HpackEncoder } from './hpack/encoder.ts';

/** What HTTP/2 says in another way, or has no use for (§8.2.2); Host becomes :authority. */
const NOT_WRITTEN = new Set(['host', 'connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'http2-settings']);

/** Each answers the block, borrowed until the next one. */
export function requestSection(encoder: HpackEncoder, head: RequestHead): Buffer {
  encoder.begin();
  encoder.field(':method', head.method);
  if (head.method !== 'CONNECT') {
    encoder.field(':scheme', head.scheme);
    encoder.field(':path', head.target, head.headers.isSecret(':path'));
  }
  if (head.authority !== '') encoder.field(':authority', head.authority, head.headers.isSecret(':authority'));
  fields(encoder, head.headers);
  if (head.contentLength > 0 && !head.headers.has('content-length')) encoder.field('content-length', String(head.contentLength));
  return encoder.end();
}

export function responseSection(encoder: HpackEncoder, head: ResponseHead, lengthAllowed: boolean): Buffer {
  encoder.begin();
  encoder.field(':status', String(head.status));
  fields(encoder, head.headers);
  if (lengthAllowed && head.contentLength >= 0 && !head.headers.has('content-length')) encoder.field('content-length', String(head.contentLength));
  return encoder.end();
}

export function trailerSection(encoder: HpackEncoder, trailers: HeaderList): Buffer {
  encoder.begin();
  fields(encoder, trailers);
  return encoder.end();
}

function fields(encoder: HpackEncoder, headers: HeaderList): void {
  for (let i = 0; i < headers.size; i += 1) {
    const name = headers.lowerAt(i);
    if (NOT_WRITTEN.has(name) || (name === 'te' && headers.valueAt(i) !== 'trailers')) continue;
    encoder.field(name, headers.valueAt(i), headers.isSecret(name));
  }
}
