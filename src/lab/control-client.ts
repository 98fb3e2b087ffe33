/** Talking to a lab's supervisor over its control socket. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { LabError } from './lab-error.ts';
import { LabPaths } from './names.ts';
import type { Progress } from './status.ts';

export class ControlClient {
  readonly #lab: string;
  readonly #socketPath: string;

  constructor(lab: string) {
    this.#lab = lab;
    this.#socketPath = new LabPaths(lab).control;
  }

  /** Does a supervisor answer? */
  async alive(): Promise<boolean> {
    try {
      await this.call('GET', '/status');
      return true;
    } catch (error) {
      if (error instanceof LabError) return false;
      throw error;
    }
  }

  /** One request; the answer's JSON. Throws LabError with the supervisor's words when it refuses. */
  async call(method: 'GET' | 'POST', path: string, options: { query?: Record<string, string | undefined>; body?: string } = {}): Promise<unknown> {
    const query = Object.entries(options.query ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const response = await this.#send(method, query.length === 0 ? path : `${path}?${new URLSearchParams(query).toString()}`, options.body);
    const body = JSON.parse(await text(response)) as unknown;
    if (response.statusCode === 200) return body;
    const { message } = body as { message: string };
    throw response.statusCode === 400 ? new LabError(message) : new Error(`the supervisor of lab ${this.#lab} failed: ${message}`);
  }

  /** Follow the lab coming up. A tied lab lives as long as somebody follows: `close` ends that. */
  async follow(onProgress: (progress: Progress) => void): Promise<{ onEnd: (listener: () => void) => void; close: () => void }> {
    const response = await this.#send('GET', '/progress');
    // Following a lab is no reason for a process to stay.
    response.socket.unref();
    const lines = createInterface({ input: response });
    lines.on('line', (line) => {
      onProgress(JSON.parse(line) as Progress);
    });
    // A supervisor that is killed breaks off in the middle; the reader passes that on, and the end of the response tells it.
    lines.on('error', () => undefined);
    response.on('error', () => undefined);
    return {
      onEnd: (listener) => {
        response.once('close', listener);
      },
      close: () => response.destroy(),
    };
  }

  async #send(method: string, path: string, body?: string): Promise<IncomingMessage> {
    const sent = request({ socketPath: this.#socketPath, method, path, agent: false });
    sent.end(body);
    try {
      const [response] = await once(sent, 'response') as [IncomingMessage];
      return response;
    } catch (error) {
      throw new LabError(`lab ${this.#lab} does not run (${(error as NodeJS.ErrnoException).code ?? String(error)}); bring it up with orlop lab up FILE`);
    }
  }
}
