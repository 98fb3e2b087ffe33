/**
 * A TCP connection as a transport.
 *
 * Reading goes into buffers of ours (read-buffers.ts), by one method call. Measured with a bare proxy (Node 26, 64 connections):
 * 'data' events cost 8 to 9 µs of user time a request, this 4.5 to 6.
 *
 * Writing. Text and small chunks are gathered, and leave in one write when the event that caused them is over. Writing a
 * string is the cheapest way into the kernel that Node has, so small bodies travel as text (latin1 keeps every byte). Bytes whose
 * memory stays as it is are gathered too, without being copied; others are handed to the kernel at once.
 */
import { createServer, Socket } from 'node:net';
import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { LISTEN_BACKLOG } from '../core/limits.ts';
import { latin1 } from './latin1.ts';
import { Block, PlainReadBuffers, RecordReadBuffers, isShared, withHeadroom } from './read-buffers.ts';
import type { ReadBuffers } from './read-buffers.ts';
import { readInto } from './read-into.ts';
import type { KeepAlive, Transport, TransportOwner } from './transport.ts';
import { beginTurn, endTurn, flushAfterRound, flushLater, inTurn } from './turn.ts';

/** Chunks up to this join the gathered text. */
const TEXT_CHUNK_BYTES = 8 * 1024;
/** Unsent bytes above which a write answers false. */
const UNSENT_BYTES_MAX = 64 * 1024;

/** Gathered bytes that leave before the round is over. */
const GATHERED_BYTES_MAX = 256 * 1024;

const EMPTY = Buffer.alloc(0);

/** The parts of Node's TCP handle that are used here. Node is pinned; {@link listenOn} checks that they exist. */
interface TcpHandle {
  fd: number;
  setNoDelay(on: boolean): void;
}

interface ListeningHandle {
  onconnection: (status: number, handle: TcpHandle | undefined) => void;
}

export class SocketTransport implements Transport {
  owner: TransportOwner;
  readonly #socket: Socket | Duplex;
  #text = '';
  #isDirty = false;
  #isShared = false;
  #waiting = false;
  /** After the text, in order; memory that stays as it is. */
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  /** Where the gathered bytes lie. */
  #blocks: Block[] = [];
  readonly #buffers: ReadBuffers;
  #open = true;
  #error: Error | undefined;
  /** Bytes read and written so far. */
  bytesRead = 0;
  bytesWritten = 0;

  private constructor(owner: TransportOwner, buffers: ReadBuffers, make: (transport: SocketTransport) => Socket | Duplex) {
    this.owner = owner;
    this.#buffers = buffers;
    this.#socket = make(this);
    const socket = this.#socket;
    socket.on('end', () => {
      inTurn(() => {
        this.owner.ended();
      });
    });
    socket.on('error', (error: Error) => {
      this.#error = error;
    });
    socket.on('close', () => {
      this.#open = false;
      inTurn(() => {
        this.owner.closed(this.#error);
      });
    });
  }

  /** A connection just accepted, by its handle. Reading starts at once. */
  static accepted(handle: object, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, new PlainReadBuffers(), (self) => new Socket({ handle, allowHalfOpen: true, manualStart: true, onread: self.#onread() } as never));
    (handle as TcpHandle).setNoDelay(true);
    const socket = transport.#socket as Socket;
    socket.resume();
    socket.read(0);
    return transport;
  }

  /** Connect a socket that was made in the network namespace it shall live in. `owner.connected` or `owner.closed` follows. */
  static connect(fd: number, address: string, port: number, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, new PlainReadBuffers(), (self) => new Socket({ fd, allowHalfOpen: true, manualStart: true, onread: self.#onread() } as never));
    const socket = transport.#socket as Socket;
    socket.on('connect', () => {
      inTurn(() => {
        transport.owner.connected?.();
      });
    });
    socket.connect({ host: address, port });
    socket.resume();
    return transport;
  }

  /** TLS that is being established; `owner.connected` or `owner.closed` follows. */
  static securing(tls: TLSSocket, owner: TransportOwner): SocketTransport {
    const transport = SocketTransport.secured(tls, owner);
    tls.once('secureConnect', () => {
      inTurn(() => {
        transport.owner.connected?.();
      });
    });
    return transport;
  }

  /** TLS that has been established. */
  static secured(tls: TLSSocket, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, new RecordReadBuffers(), () => tls);
    // What came with the end of the handshake has been read by Node already.
    const early = tls.read() as Buffer | null;
    if (early !== null) process.nextTick(() => transport.#received(early, early.length));
    readInto(tls, () => transport.#buffers.next(), (length, buffer) => transport.#received(buffer, length));
    return transport;
  }

  /** Any duplex stream (a test's pair). */
  static over(stream: Duplex, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, new PlainReadBuffers(), () => stream);
    stream.on('data', (chunk: Buffer) => {
      transport.#received(chunk, chunk.length);
    });
    return transport;
  }

  /** The kernel's number of the socket; -1 when closed or not a plain socket. */
  get fd(): number {
    return (this.#socket as { _handle?: TcpHandle })._handle?.fd ?? -1;
  }

  get open(): boolean {
    return this.#open;
  }

  get localAddress(): string {
    return (this.#socket as Socket).localAddress ?? '';
  }

  get localPort(): number {
    return (this.#socket as Socket).localPort ?? 0;
  }

  get remoteAddress(): string {
    return (this.#socket as Socket).remoteAddress ?? '';
  }

  get remotePort(): number {
    return (this.#socket as Socket).remotePort ?? 0;
  }

  /** Bytes accepted for writing that the kernel has not taken yet. */
  get unsentBytes(): number {
    return this.#text.length + this.#gatheredBytes + this.#socket.writableLength;
  }

  /** Gather latin1 text. False: hold until `drained`. */
  write(text: string): boolean {
    // Text goes before gathered bytes, so those that were there first must leave.
    if (this.#gatheredBytes > 0) this.flush();
    this.#text += text;
    this.#markDirty();
    return this.#settle(this.unsentBytes <= UNSENT_BYTES_MAX);
  }

  /** Send bytes. The chunk is borrowed: when this returns true it may be reused at once; when false, after `drained`. */
  writeBytes(chunk: Buffer): boolean {
    if (chunk.length > TEXT_CHUNK_BYTES || this.#gatheredBytes > 0) {
      const block = Block.of(chunk);
      if (block !== undefined) return this.#gather(chunk, block);
    }
    if (chunk.length <= TEXT_CHUNK_BYTES) return this.write(latin1(chunk, 0, chunk.length));
    return this.#writeNow(chunk);
  }

  /** The same with a frame header before it (latin1 text), which costs TLS no copy where the chunk has room for it. */
  writeFramed(header: string, chunk: Buffer): boolean {
    const framed = chunk.length > TEXT_CHUNK_BYTES ? withHeadroom(chunk, header.length) : undefined;
    if (framed === undefined) {
      this.write(header);
      return this.writeBytes(chunk);
    }
    framed.write(header, 'latin1');
    return this.#writeNow(framed);
  }

  /** Hand to the kernel now what is gathered. */
  flush(): void {
    this.#isDirty = false;
    const text = this.#text;
    this.#text = '';
    if (this.#gatheredBytes > 0) this.#flushGathered(text);
    else if (text !== '' && this.#open) {
      this.bytesWritten += text.length;
      (this.#socket as Socket).write(text, 'latin1');
    }
  }

  /** Stop reading; the kernel's window then holds the peer back. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Send what is gathered, then FIN. Reading goes on. */
  end(): void {
    this.flush();
    if (this.#open) this.#socket.end();
  }

  /** End both ways at once; what was not sent yet is lost. */
  destroy(): void {
    this.#forget();
    this.#socket.destroy();
  }

  /** End with RST instead of FIN, so that the peer cannot take a cut-off message for a complete one. */
  reset(): void {
    this.#forget();
    const socket = this.#socket;
    if (socket instanceof Socket) socket.resetAndDestroy();
    else socket.destroy();
  }

  /** Probe a silent peer (SO_KEEPALIVE): after `timeSeconds`, then every `intervalSeconds`, and give it up after `probes`. */
  setKeepAlive({ timeSeconds, intervalSeconds, probes }: KeepAlive): void {
    if (this.#socket instanceof Socket) this.#socket.setKeepAlive(true, timeSeconds * 1000, intervalSeconds * 1000, probes);
  }

  /** Give the socket away, for TLS to be put on it: this transport hears nothing of it any more, and says nothing to its owner. */
  release(): Socket {
    const socket = this.#socket as Socket;
    this.#open = false;
    this.#forget();
    for (const event of ['end', 'error', 'close']) socket.removeAllListeners(event);
    return socket;
  }

  share(): void {
    this.#isShared = true;
  }

  surrender(): void {
    this.#buffers.surrender();
  }

  #onread(): object {
    return {
      buffer: (): Buffer | undefined => this.#buffers.next(),
      callback: (length: number, buffer: Buffer): boolean => {
        this.#received(buffer, length);
        // Node stops reading when this is false; pause() has already done so where it is wanted.
        return true;
      },
    };
  }

  #received(buffer: Buffer, length: number): void {
    this.bytesRead += length;
    this.#buffers.received(length);
    beginTurn();
    try {
      this.owner.bytes(buffer, length);
    } finally {
      endTurn();
    }
  }

  #writeNow(chunk: Buffer): boolean {
    if (!this.#open) return true;
    // An unfinished write of memory that is about to be overwritten needs a copy.
    const bytes = isShared(chunk) ? Buffer.from(chunk) : chunk;
    const socket = this.#socket;
    socket.cork();
    this.flush();
    this.bytesWritten += bytes.length;
    socket.write(bytes);
    socket.uncork();
    return this.#settle(socket.writableLength === 0);
  }

  #flushGathered(text: string): void {
    const gathered = this.#gathered;
    const blocks = this.#blocks;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#blocks = [];
    const socket = this.#socket as Socket;
    if (this.#open) {
      this.bytesWritten += text.length;
      socket.cork();
      if (text !== '') socket.write(text, 'latin1');
      for (const bytes of gathered) {
        this.bytesWritten += bytes.length;
        socket.write(bytes);
      }
      socket.uncork();
    }
    const sent = (): void => {
      for (const block of blocks) block.sent();
    };
    if (!this.#open || socket.writableLength === 0) sent();
    else socket.write(EMPTY, sent);
  }

  /** Pieces that lie one after the other in memory become one. */
  #gather(chunk: Buffer, block: Block): boolean {
    if (!this.#open) return true;
    const last = this.#gathered.at(-1);
    if (last !== undefined && last.buffer === chunk.buffer && last.byteOffset + last.length === chunk.byteOffset) {
      this.#gathered[this.#gathered.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + chunk.length);
    } else {
      block.keep();
      this.#blocks.push(block);
      this.#gathered.push(chunk);
    }
    this.#gatheredBytes += chunk.length;
    if (this.#gatheredBytes >= GATHERED_BYTES_MAX) this.flush();
    else this.#markDirty(true);
    return this.#settle(this.#socket.writableLength <= UNSENT_BYTES_MAX);
  }

  #forget(): void {
    this.#text = '';
    for (const block of this.#blocks) block.sent();
    this.#blocks = [];
    this.#gathered = [];
    this.#gatheredBytes = 0;
  }

  #markDirty(afterRound = this.#isShared): void {
    if (this.#isDirty) return;
    this.#isDirty = true;
    if (afterRound) flushAfterRound(this);
    else flushLater(this);
  }

  /** Arrange for `drained` unless `done`; returns `done`. */
  #settle(done: boolean): boolean {
    if (done || this.#waiting || !this.#open) return done;
    this.#waiting = true;
    this.flush();
    // An empty write is queued behind what is unsent, so its callback marks the moment all of it has left.
    this.#socket.write(EMPTY, () => {
      this.#waiting = false;
      if (!this.#open) return;
      inTurn(() => {
        this.owner.drained();
      });
    });
    return false;
  }
}

/** A server on a listening socket, which it takes for its own. Rejects when the socket cannot be listened on; `failed` hears of later faults. */
export async function serverOn(fd: number, failed: (error: Error) => void): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd, backlog: LISTEN_BACKLOG }, resolve);
  });
  server.on('error', failed);
  return server;
}

/**
 * Accept connections of a listening server by their bare handles, which spares a second socket object per connection.
 * Uses `server._handle.onconnection`, present in every Node so far; throws when it is not, so that an upgrade of the pinned
 * Node cannot fail silently.
 */
export function acceptHandles(server: Server, accept: (handle: object, fd: number) => void): void {
  const listening = (server as unknown as { _handle?: ListeningHandle })._handle;
  if (typeof listening?.onconnection !== 'function') throw new Error('this Node keeps its listening handle elsewhere; see proxy/socket-transport.ts acceptHandles');
  listening.onconnection = (status, handle) => {
    if (status === 0 && handle !== undefined) accept(handle, handle.fd);
  };
}
