/**
 * A TCP connection as a transport.
 *
 * Reading. All connections of a worker that are idle or carry small messages share one read buffer: what arrives is used up
 * within the call that delivers it. A connection that fills the buffer is moving bulk, and gets a buffer of its own until it
 * calms down. So an idle connection holds no buffer at all.
 * Measured with a bare proxy (Node 26, 64 connections): 'data' events cost 8 to 9 µs of user time a request, this 4.5 to 6.
 *
 * Writing. Text and small chunks are gathered, and leave in one write when the event that caused them is over. Writing a
 * string is the cheapest way into the kernel that Node has, so small bodies travel as text (latin1 keeps every byte).
 */
import { Socket } from 'node:net';
import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { latin1 } from './latin1.ts';
import type { KeepAlive, Transport, TransportOwner } from './transport.ts';
import { beginTurn, endTurn, flushAfterRound, flushLater } from './turn.ts';

const SHARED_BYTES = 64 * 1024;
const BULK_BYTES = 256 * 1024;
/** A bulk connection that reads less than this gives its buffer back. */
const CALM_BYTES = 16 * 1024;
/** Chunks up to this join the gathered text. */
const TEXT_CHUNK_BYTES = 8 * 1024;
/** Unsent bytes above which a write answers false. */
const UNSENT_BYTES_MAX = 64 * 1024;

const sharedBuffer = Buffer.allocUnsafeSlow(SHARED_BYTES);
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
  #bulk: Buffer | undefined;
  #wantBulk = false;
  /** Node still holds a bulk buffer that is no longer ours. */
  #givenAway = false;
  #open = true;
  #error: Error | undefined;
  /** Bytes read and written so far. */
  bytesRead = 0;
  bytesWritten = 0;

  private constructor(owner: TransportOwner, make: (transport: SocketTransport) => Socket | Duplex) {
    this.owner = owner;
    this.#socket = make(this);
    const socket = this.#socket;
    socket.on('end', () => {
      this.#turn(() => {
        this.owner.ended();
      });
    });
    socket.on('error', (error: Error) => {
      this.#error = error;
    });
    socket.on('close', () => {
      this.#open = false;
      this.#turn(() => {
        this.owner.closed(this.#error);
      });
    });
  }

  /** A connection just accepted, by its handle. Reading starts at once. */
  static accepted(handle: object, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, (self) => new Socket({ handle, allowHalfOpen: true, manualStart: true, onread: self.#onread() } as never));
    (handle as TcpHandle).setNoDelay(true);
    const socket = transport.#socket as Socket;
    socket.resume();
    socket.read(0);
    return transport;
  }

  /** Connect a socket that was made in the network namespace it shall live in. `owner.connected` or `owner.closed` follows. */
  static connect(fd: number, address: string, port: number, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, (self) => new Socket({ fd, allowHalfOpen: true, manualStart: true, onread: self.#onread() } as never));
    const socket = transport.#socket as Socket;
    socket.on('connect', () => {
      transport.#turn(() => {
        transport.owner.connected?.();
      });
    });
    socket.connect({ host: address, port });
    socket.resume();
    return transport;
  }

  /** TLS that is being established; `owner.connected` or `owner.closed` follows. */
  static securing(tls: TLSSocket, owner: TransportOwner): SocketTransport {
    const transport = SocketTransport.over(tls, owner);
    tls.once('secureConnect', () => {
      transport.#turn(() => {
        transport.owner.connected?.();
      });
    });
    return transport;
  }

  /** Any duplex stream (TLS, a test's pair). */
  static over(stream: Duplex, owner: TransportOwner): SocketTransport {
    const transport = new SocketTransport(owner, () => stream);
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
    return this.#text.length + this.#socket.writableLength;
  }

  /** Gather latin1 text. False: hold until `drained`. */
  write(text: string): boolean {
    this.#text += text;
    if (!this.#isDirty) this.#markDirty();
    return this.#settle(this.unsentBytes <= UNSENT_BYTES_MAX);
  }

  /** Send bytes. The chunk is borrowed: when this returns true it may be reused at once; when false, after `drained`. */
  writeBytes(chunk: Buffer): boolean {
    if (chunk.length <= TEXT_CHUNK_BYTES) return this.write(latin1(chunk, 0, chunk.length));
    if (!this.#open) return true;
    // A view of the shared buffer is overwritten by the next read of any connection, so an unfinished write needs its own copy.
    const bytes = chunk.buffer === sharedBuffer.buffer ? Buffer.from(chunk) : chunk;
    const socket = this.#socket;
    socket.cork();
    this.flush();
    this.bytesWritten += bytes.length;
    socket.write(bytes);
    socket.uncork();
    return this.#settle(socket.writableLength === 0);
  }

  /** Hand the gathered text to the kernel now. */
  flush(): void {
    this.#isDirty = false;
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    if (!this.#open) return;
    this.bytesWritten += text.length;
    (this.#socket as Socket).write(text, 'latin1');
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
    this.#text = '';
    this.#socket.destroy();
  }

  /** End with RST instead of FIN, so that the peer cannot take a cut-off message for a complete one. */
  reset(): void {
    this.#text = '';
    const socket = this.#socket;
    if (socket instanceof Socket) socket.resetAndDestroy();
    else socket.destroy();
  }

  /** Probe a silent peer (SO_KEEPALIVE): after `timeSeconds`, then every `intervalSeconds`, and give it up after `probes`. */
  setKeepAlive({ timeSeconds, intervalSeconds, probes }: KeepAlive): void {
    if (this.#socket instanceof Socket) this.#socket.setKeepAlive(true, timeSeconds * 1000, intervalSeconds * 1000, probes);
  }

  share(): void {
    this.#isShared = true;
  }

  /** A bulk buffer is given away. The shared one is not: who keeps a part of that copies it, as {@link writeBytes} does. */
  surrender(): void {
    this.#givenAway = this.#bulk !== undefined;
    this.#bulk = undefined;
  }

  #onread(): object {
    return {
      buffer: (): Buffer | undefined => this.#nextBuffer(),
      callback: (length: number, buffer: Buffer): boolean => {
        this.#received(buffer, length);
        // Node stops reading when this is false; pause() has already done so where it is wanted.
        return true;
      },
    };
  }

  /** Node asks after each read; a buffer is only answered when it changes. */
  #nextBuffer(): Buffer | undefined {
    if (this.#wantBulk) {
      if (this.#bulk !== undefined) return undefined;
      this.#givenAway = false;
      this.#bulk = Buffer.allocUnsafeSlow(BULK_BYTES);
      return this.#bulk;
    }
    if (this.bytesRead > 0 && this.#bulk === undefined && !this.#givenAway) return undefined;
    this.#givenAway = false;
    this.#bulk = undefined;
    return sharedBuffer;
  }

  #received(buffer: Buffer, length: number): void {
    this.bytesRead += length;
    this.#wantBulk = length === SHARED_BYTES || (this.#bulk !== undefined && length >= CALM_BYTES);
    beginTurn();
    try {
      this.owner.bytes(buffer, length);
    } finally {
      endTurn();
    }
  }

  /** Run a step of the owner, then flush what it wrote. */
  #turn(step: () => void): void {
    beginTurn();
    try {
      step();
    } finally {
      endTurn();
    }
  }

  #markDirty(): void {
    this.#isDirty = true;
    if (this.#isShared) flushAfterRound(this);
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
      this.#turn(() => {
        this.owner.drained();
      });
    });
    return false;
  }
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
