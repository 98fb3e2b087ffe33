/** One connection as the codecs see it, whatever carries it: bytes in by a method call, bytes out gathered into few writes. */

/** Who owns a connection: its codec. Named methods instead of listeners, so that no closure is made per connection. */
export interface TransportOwner {
  /** `length` bytes arrived at the start of `buffer`, which is borrowed for the length of the call. */
  bytes(buffer: Buffer, length: number): void;
  /** The peer will send no more (FIN). Our own direction stays open. */
  ended(): void;
  /** Everything written so far has left, after a write that returned false. */
  drained(): void;
  /** The connection is over, both ways; called exactly once. */
  closed(error: Error | undefined): void;
  /** An outgoing connection is made. */
  connected?(): void;
}

/** A socket, TLS over one, or a stream of a tunnel. */
export interface Transport {
  owner: TransportOwner;
  /** False once it is over. */
  readonly open: boolean;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Bytes read and written so far. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Gather latin1 text. False: hold until `drained`. */
  write(text: string): boolean;
  /** Send bytes. The chunk is borrowed: when this returns true it may be reused at once; when false, after `drained`. */
  writeBytes(chunk: Buffer): boolean;
  /** The same with a frame header (latin1 text) before it. */
  writeFramed(header: string, chunk: Buffer): boolean;
  /** Stop reading; the peer is held back. */
  pause(): void;
  resume(): void;
  /** Send what is gathered, then say that no more will come. Reading goes on. */
  end(): void;
  /** End both ways at once; what was not sent yet is lost. */
  destroy(): void;
  /** End so that the peer cannot take a cut-off message for a complete one. */
  reset(): void;
  /** Probe a silent peer: after `timeSeconds`, then every `intervalSeconds`, and give it up after `probes`. */
  setKeepAlive(probing: KeepAlive): void;
  /** Many exchanges write here: gather what a whole round of events brings. */
  share(): void;
  /** What was just delivered is read on after the call: the next bytes must come in another buffer. */
  surrender(): void;
}

export interface KeepAlive {
  readonly timeSeconds: number;
  readonly intervalSeconds: number;
  readonly probes: number;
}
