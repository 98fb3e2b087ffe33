/** One question to a running process, over its unix socket. */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Rejects when nobody listens on the socket. */
export async function ask(socketPath: string, path: string, method: 'GET' | 'POST' = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, method }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    }).on('error', reject).end();
  });
}
