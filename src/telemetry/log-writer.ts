/** Takes log lines to a stream in batches, within a bound. */
import type { Writable } from 'node:stream';
import type { Clock, Timer } from '../core/clock.ts';
import { ACCESS_LOG_BYTES_MAX } from '../core/limits.ts';

const BATCH_MS = 100;
const BATCH_CHARS = 64 * 1024;

export class LogWriter {
  readonly #clock: Clock;
  readonly #out: Writable;
  #text = '';
  #timer: Timer | undefined;
  /** Lines dropped because the stream did not take them. */
  dropped = 0;

  constructor(clock: Clock, out: Writable) {
    this.#clock = clock;
    this.#out = out;
  }

  write(line: string): void {
    if (this.#text.length + this.#out.writableLength > ACCESS_LOG_BYTES_MAX) {
      this.dropped += 1;
      return;
    }
    this.#text += line;
    if (this.#text.length >= BATCH_CHARS) this.flush();
    else this.#timer ??= this.#clock.after(BATCH_MS, () => this.flush());
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#text === '') return;
    this.#out.write(this.#text);
    this.#text = '';
  }
}
