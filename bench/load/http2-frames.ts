/** As much HTTP/2 (RFC 9113) as a client needs that opens one CONNECT stream per connection. */

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HEADER_BYTES = 9;
const HEADERS = 1;
const SETTINGS = 4;
const END_HEADERS = 4;
const STREAM = 1;

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Everything a client says first: preface, settings, and a CONNECT to `authority` on stream 1. */
export function clientOpening(authority: string): Buffer {
  // Literals without indexing, names from the static table (RFC 7541 §6.2.2): :method is 2, :authority is 1.
  const block = Buffer.concat([literal(2, 'CONNECT'), literal(1, authority)]);
  return Buffer.concat([Buffer.from(PREFACE), frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(HEADERS, END_HEADERS, STREAM, block)]);
}

function literal(name: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([name, value.length]), Buffer.from(value)]);
}

/** Whether a header block begins with `:status 200`, after changes of the table's size. */
export function isOk(block: Buffer): boolean {
  const first = block.find((octet) => octet >> 5 !== 1);
  return first === 0x88;
}

/** Cuts a connection's bytes into frames. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  feed(chunk: Buffer): Frame[] {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const frames: Frame[] = [];
    let start = 0;
    while (bytes.length - start >= HEADER_BYTES) {
      const end = start + HEADER_BYTES + bytes.readUIntBE(start, 3);
      if (bytes.length < end) break;
      frames.push({ type: bytes[start + 3]!, flags: bytes[start + 4]!, payload: bytes.subarray(start + HEADER_BYTES, end) });
      start = end;
    }
    this.#held = bytes.subarray(start);
    return frames;
  }
}
