/** A connection in memory, for tests that need thousands of them. */
import type { Transport, TransportOwner } from '../../../src/proxy/transport.ts';

/** A connection whose other end is the test. */
export class MemoryTransport implements Transport {
  owner: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };
  readonly open = true;
  readonly localAddress = '127.0.0.1';
  readonly localPort = 1;
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 2;
  readonly bytesRead = 0;
  readonly bytesWritten = 0;
  written = '';
  paused = false;
  /** Writes are to be held until `owner.drained`. */
  full = false;

  write(text: string): boolean {
    this.written += text;
    return !this.full;
  }

  writeBytes(chunk: Buffer): boolean {
    return this.write(chunk.toString('latin1'));
  }

  writeFramed(header: string, chunk: Buffer): boolean {
    this.write(header);
    return this.writeBytes(chunk);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.written += '(end)';
  }

  destroy(): void {
    this.written += '(destroyed)';
  }

  reset(): void {
    this.written += '(reset)';
  }

  setKeepAlive(): void {
    // A test is never idle.
  }

  share(): void {
    // Nobody reads what is written here.
  }

  surrender(): void {
    // Every piece is its own buffer.
  }
}
