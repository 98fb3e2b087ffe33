/**
 * One stream: both directions of its bytes, and how many each end may send (RFC 9113 §5.1, §5.2).
 *
 * Sending. What the windows allow leaves at once; the rest of the one chunk that did not fit waits here, and its sender is told
 * to hold. Receiving. A stream cannot stop the socket, so what comes while its receiver holds is kept here; the window, which
 * is only given back as the receiver takes things, is the bound.
 */
import { MeshError } from '../../core/errors.ts';
import type { HeaderList } from '../headers.ts';
import { Backlog } from './backlog.ts';
import type { Http2Connection } from './connection.ts';

const NOTHING = Buffer.alloc(0);

/** Why content is not taken: before its head, more than announced, or more than the workload may hold. */
export type StreamFault = 'out of place' | 'too long' | 'overloaded';

export abstract class Http2Stream {
  readonly id: number;
  /** What we may still send. */
  sendWindow: number;
  /** What the peer may still send. */
  receiveWindow: number;
  /** We have sent END_STREAM. */
  sendEnded = false;
  /** The peer has sent END_STREAM. */
  receiveEnded = false;
  /** Reset, by either end, or lost with the connection. */
  dead = false;
  /** The request was CONNECT, and was answered with success: raw bytes, each direction on its own. */
  tunnel = false;
  protected readonly connection: Http2Connection;
  /** Not sent yet, for want of window. Ours. */
  #unsent: Buffer = NOTHING;
  #endWanted = false;
  #trailers: HeaderList | undefined;
  /** The sender was told to hold. */
  #held = false;
  /** The receiver wants no more now. */
  #receiverHolds = false;
  /** Bytes of the chunk that the receiver holds on to. */
  #inHand = 0;
  readonly #backlog = new Backlog();
  #trailersReceived: HeaderList | undefined;
  #endDelivered = false;
  /** Taken by the receiver, and not given back to the peer yet. */
  #credit = 0;
  /** Bytes of content so far, against Content-Length; -1 = any. */
  #expected = -1;
  #received = 0;

  constructor(connection: Http2Connection, id: number) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = connection.peer.windowBytes;
    this.receiveWindow = connection.settings.streamWindowBytes;
  }

  /** Content for whoever receives it; false: hold. */
  protected abstract received(chunk: Buffer): boolean;
  protected abstract receivedEnd(trailers: HeaderList | undefined): void;
  /** The sender may go on. */
  protected abstract mayGoOn(): void;
  /** The stream is lost; nothing more will come or go. */
  protected abstract lost(error: MeshError): void;

  /** Send content; false: hold until `mayGoOn`. */
  send(chunk: Buffer): boolean {
    if (this.dead || this.sendEnded) return true;
    if (this.#unsent.length > 0) {
      this.#unsent = Buffer.concat([this.#unsent, chunk]);
      return false;
    }
    const { connection } = this;
    const allowed = Math.min(chunk.length, this.sendWindow, connection.sendWindow);
    const flowing = allowed <= 0 || this.#write(chunk, allowed);
    if (allowed < chunk.length) this.#unsent = Buffer.from(allowed <= 0 ? chunk : chunk.subarray(allowed));
    else if (flowing) return true;
    this.#held = true;
    connection.starving.add(this);
    return false;
  }

  /** The same for latin1 text. */
  sendText(text: string): boolean {
    if (this.dead || this.sendEnded) return true;
    const { connection } = this;
    if (this.#unsent.length > 0 || text.length > Math.min(this.sendWindow, connection.sendWindow, connection.peer.frameBytes)) return this.send(Buffer.from(text, 'latin1'));
    this.sendWindow -= text.length;
    if (connection.writeDataText(this.id, text)) return true;
    this.#held = true;
    connection.starving.add(this);
    return false;
  }

  /** No more content. What is unsent goes first. */
  sendEnd(trailers: HeaderList | undefined): void {
    if (this.dead || this.sendEnded || this.#endWanted) return;
    this.#endWanted = true;
    this.#trailers = trailers;
    if (this.#unsent.length === 0) this.#finishSending();
  }

  /** END_STREAM went with a header section. */
  sentEnd(): void {
    this.sendEnded = true;
    if (this.receiveEnded) this.connection.over(this);
  }

  /** A window has opened, or the socket has drained: send on, at most one frame's worth, so that others get their turn. */
  pump(): void {
    const { connection } = this;
    const waiting = this.#unsent;
    if (waiting.length > 0) {
      const allowed = Math.min(waiting.length, this.sendWindow, connection.sendWindow, connection.peer.frameBytes);
      if (allowed <= 0) return;
      this.#unsent = waiting.subarray(allowed);
      this.#write(waiting, allowed);
      connection.starving.delete(this);
      if (this.#unsent.length > 0) {
        connection.starving.add(this);
        return;
      }
      this.#unsent = NOTHING;
    }
    connection.starving.delete(this);
    if (this.#endWanted) this.#finishSending();
    else if (this.#held) {
      this.#held = false;
      this.mayGoOn();
    }
  }

  /** A length that the content must have; -1 = any. */
  expect(contentLength: number): void {
    this.#expected = contentLength;
  }

  /** Content arrived. Returns why the stream cannot go on with it. */
  receive(chunk: Buffer): StreamFault | undefined {
    this.#received += chunk.length;
    if (this.#expected >= 0 && this.#received > this.#expected) return 'too long';
    if (!this.#receiverHolds && this.#backlog.bytes === 0) {
      this.#hand(chunk);
      return undefined;
    }
    const { buffers } = this.connection;
    if (!buffers.mayHold(chunk.length)) return 'overloaded';
    buffers.hold(chunk.length);
    this.#backlog.push(chunk);
    return undefined;
  }

  /** The peer ended its direction. Returns whether the content was as long as announced. */
  receiveEnd(trailers: HeaderList | undefined): boolean {
    if (this.#expected >= 0 && this.#received !== this.#expected) return false;
    this.receiveEnded = true;
    this.#trailersReceived = trailers;
    this.#deliver();
    if (this.sendEnded) this.connection.over(this);
    return true;
  }

  /** The receiver takes more. */
  goOn(): void {
    if (!this.#receiverHolds) return;
    this.#receiverHolds = false;
    this.#took(this.#inHand);
    this.#inHand = 0;
    this.#deliver();
  }

  /** Padding counts for flow control, and is consumed at once. */
  skipped(bytes: number): void {
    this.#took(bytes);
  }

  /** The stream is over at once, both ways. */
  die(error: MeshError): void {
    if (this.dead) return;
    this.#forget();
    this.lost(error);
  }

  /** Over by our own will: nobody needs to be told. */
  abandon(): void {
    if (!this.dead) this.#forget();
  }

  #forget(): void {
    this.dead = true;
    this.connection.starving.delete(this);
    this.#unsent = NOTHING;
    // What others may send must not shrink by what nobody will read.
    this.connection.consumed(this.#backlog.bytes + this.#inHand);
    this.connection.buffers.give(this.#backlog.bytes);
    this.#backlog.clear();
    this.#inHand = 0;
  }

  #hand(chunk: Buffer): void {
    if (this.received(chunk)) {
      this.#took(chunk.length);
      return;
    }
    this.#receiverHolds = true;
    this.#inHand = chunk.length;
    this.connection.keepBytes();
  }

  #deliver(): void {
    while (!this.#receiverHolds && this.#backlog.bytes > 0 && !this.dead) {
      const chunk = this.#backlog.shift();
      this.connection.buffers.give(chunk.length);
      this.#hand(chunk);
    }
    if (this.#receiverHolds || !this.receiveEnded || this.#endDelivered || this.dead) return;
    this.#endDelivered = true;
    this.receivedEnd(this.#trailersReceived);
  }

  #took(bytes: number): void {
    if (bytes === 0) return;
    this.connection.consumed(bytes);
    if (this.receiveEnded || this.dead) return;
    this.#credit += bytes;
    if (this.#credit * 2 < this.connection.settings.streamWindowBytes) return;
    this.receiveWindow += this.#credit;
    this.connection.grant(this.id, this.#credit);
    this.#credit = 0;
  }

  #write(chunk: Buffer, length: number): boolean {
    const { connection } = this;
    const { frameBytes } = connection.peer;
    let flowing = true;
    for (let at = 0; at < length; ) {
      const next = Math.min(length, at + frameBytes);
      this.sendWindow -= next - at;
      flowing = connection.writeData(this.id, at === 0 && next === chunk.length ? chunk : chunk.subarray(at, next));
      at = next;
    }
    return flowing;
  }

  #finishSending(): void {
    this.connection.writeEnd(this, this.#trailers);
    this.sentEnd();
  }
}
