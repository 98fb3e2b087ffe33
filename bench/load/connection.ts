/** A keep-alive client connection with one request in flight at most; every answer is checked against the backend's. */
import { connect, type Socket } from 'node:net';

import { BODY, HOST } from '../backend.ts';
import { readResponse } from './response.ts';

const REQUEST = Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);

export class Connection {
  readonly #socket: Socket;
  readonly #onAnswer: (connection: Connection) => void;
  #partial: Buffer | undefined;

  /** Free for the holder's use: when the request in flight became due, in ms. */
  dueAtMs = 0;

  /** `onAnswer` is called for each right answer, `onFailure` when the connection can carry no more. */
  constructor(host: string, port: number, onAnswer: (connection: Connection) => void, onFailure: (reason: string) => void) {
    this.#onAnswer = onAnswer;
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => {
      try {
        this.#onData(chunk);
      } catch (error) {
        this.#socket.destroy();
        onFailure((error as Error).message);
      }
    });
    this.#socket.on('error', (error) => onFailure(error.message));
    this.#socket.on('end', () => onFailure('closed by the other end'));
  }

  send(): void {
    this.#socket.write(REQUEST);
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk]);
    const response = readResponse(bytes);
    this.#partial = response === undefined ? bytes : undefined;
    if (response === undefined) return;
    if (response.status !== 200 || response.body !== BODY) throw new Error(`wrong answer, status ${String(response.status)}: ${response.body}`);
    this.#onAnswer(this);
  }
}
