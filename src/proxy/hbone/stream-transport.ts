/**
 * A connection inside a tunnel, as a transport: what the codecs write becomes the content of a CONNECT stream (RFC 9113 §8.5).
 * END_STREAM is FIN, a reset with CONNECT_ERROR is RST. As on a socket, text is gathered and leaves when the turn is over.
 */
import type { MeshError } from '../../core/errors.ts';
import { latin1 } from '../latin1.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import { flushLater, inTurn } from '../turn.ts';

/** The stream below: a request to send into, or an answer. */
export interface StreamEnd {
  /** False: hold until {@link StreamTransport.mayGoOn}. */
  send(chunk: Buffer): boolean;
  finish(): void;
  /** `abruptly`: as RST, else as a close. */
  cut(abruptly: boolean): void;
  /** Take up what was held. */
  goOn(): void;
}

export interface Addresses {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** Chunks up to this join the gathered text. */
const TEXT_CHUNK_BYTES = 8 * 1024;
/** Gathered text that leaves before the turn is over. */
const GATHERED_CHARS_MAX = 64 * 1024;

export class StreamTransport implements Transport {
  owner: TransportOwner;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #stream: StreamEnd;
  readonly #addresses: Addresses;
  #text = '';
  #isDirty = false;
  /** The stream took no more, and the owner waits for `drained`. */
  #blocked = false;
  #owed = false;
  #paused = false;
  /** Came while the owner was paused already: its own, because what a stream delivers is borrowed. */
  #early: Buffer | undefined;
  #earlyEnd = false;
  #inputEnded = false;
  #outputEnded = false;
  #open = true;

  constructor(stream: StreamEnd, addresses: Addresses, owner: TransportOwner) {
    this.#stream = stream;
    this.#addresses = addresses;
    this.owner = owner;
  }

  get open(): boolean {
    return this.#open;
  }

  get localAddress(): string {
    return this.#addresses.localAddress;
  }

  get localPort(): number {
    return this.#addresses.localPort;
  }

  get remoteAddress(): string {
    return this.#addresses.remoteAddress;
  }

  get remotePort(): number {
    return this.#addresses.remotePort;
  }

  write(text: string): boolean {
    if (!this.#open || this.#outputEnded) return true;
    this.#text += text;
    if (this.#text.length > GATHERED_CHARS_MAX) this.flush();
    else if (!this.#isDirty) {
      this.#isDirty = true;
      flushLater(this);
    }
    return this.#settle();
  }

  writeBytes(chunk: Buffer): boolean {
    if (chunk.length <= TEXT_CHUNK_BYTES) return this.write(latin1(chunk, 0, chunk.length));
    if (!this.#open || this.#outputEnded) return true;
    this.flush();
    this.bytesWritten += chunk.length;
    if (!this.#stream.send(chunk)) this.#blocked = true;
    return this.#settle();
  }

  writeFramed(header: string, chunk: Buffer): boolean {
    this.write(header);
    return this.writeBytes(chunk);
  }

  flush(): void {
    this.#isDirty = false;
    const text = this.#text;
    if (text === '' || !this.#open) return;
    this.#text = '';
    this.bytesWritten += text.length;
    if (!this.#stream.send(Buffer.from(text, 'latin1'))) this.#blocked = true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const early = this.#early;
    this.#early = undefined;
    if (early !== undefined) this.#deliver(early);
    if (this.#paused || !this.#open) return;
    if (this.#earlyEnd) this.receivedEnd();
    else this.#stream.goOn();
  }

  end(): void {
    if (!this.#open || this.#outputEnded) return;
    this.flush();
    this.#outputEnded = true;
    this.#stream.finish();
    this.#closeWhenOver();
  }

  destroy(): void {
    this.#cut(false);
  }

  reset(): void {
    this.#cut(true);
  }

  setKeepAlive(): void {
    // The tunnel is probed as a whole.
  }

  share(): void {
    // The tunnel gathers.
  }

  surrender(): void {
    // What a stream delivers is kept by whoever holds it.
  }

  /** The connection is made. */
  opened(): void {
    if (this.#open) inTurn(() => this.owner.connected?.());
  }

  /** Content from the other end; false: hold. */
  received(chunk: Buffer): boolean {
    if (!this.#open) return true;
    this.bytesRead += chunk.length;
    if (this.#paused) this.#early = Buffer.concat([...(this.#early === undefined ? [] : [this.#early]), chunk]);
    else this.#deliver(chunk);
    return !this.#paused;
  }

  /** FIN from the other end. */
  receivedEnd(): void {
    if (!this.#open || this.#inputEnded) return;
    if (this.#paused) {
      this.#earlyEnd = true;
      return;
    }
    this.#inputEnded = true;
    inTurn(() => this.owner.ended());
    this.#closeWhenOver();
  }

  /** The stream takes more. */
  mayGoOn(): void {
    this.#blocked = false;
    if (!this.#owed || !this.#open) return;
    this.#owed = false;
    inTurn(() => this.owner.drained());
  }

  /** The stream is no more. */
  lost(error: MeshError): void {
    if (!this.#open) return;
    this.#close(error.code === 'tunnel_closed' ? undefined : error);
  }

  #deliver(chunk: Buffer): void {
    inTurn(() => this.owner.bytes(chunk, chunk.length));
  }

  #settle(): boolean {
    if (!this.#blocked) return true;
    this.#owed = true;
    return false;
  }

  /** Told in a later turn, as a socket does it. */
  #closeWhenOver(): void {
    if (!this.#inputEnded || !this.#outputEnded || !this.#open) return;
    this.#open = false;
    process.nextTick(() => inTurn(() => this.owner.closed(undefined)));
  }

  #cut(abruptly: boolean): void {
    if (!this.#open) return;
    this.#open = false;
    this.#text = '';
    this.#stream.cut(abruptly);
    process.nextTick(() => inTurn(() => this.owner.closed(undefined)));
  }

  #close(error: Error | undefined): void {
    this.#open = false;
    this.#text = '';
    inTurn(() => this.owner.closed(error));
  }
}
