/**
 * Asks once, or until the answer is right. Without PATH the answer must be the backend's, byte for byte; with it, any 200.
 *
 *     probe.ts HOST PORT [PATH] [--wait MS]
 */
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { BODY, HOST } from '../backend.ts';

const RETRY_MS = 100;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { wait: { type: 'string', default: '0' } } });
const [host, port, path] = positionals as [string, string, string | undefined];
const deadlineMs = performance.now() + Number(values.wait);

for (;;) {
  const complaint = await ask();
  if (complaint === undefined) process.exit(0);
  if (performance.now() > deadlineMs) {
    process.stderr.write(`${complaint}\n`);
    process.exit(1);
  }
  await delay(RETRY_MS);
}

/** What is wrong with the answer; undefined when nothing is. */
async function ask(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const exchange = request({ host, port, path: path ?? '/', headers: { host: HOST }, agent: false, timeout: 2000 }, (response) => {
      const parts: string[] = [];
      response.setEncoding('latin1').on('data', (part: string) => parts.push(part)).on('end', () => {
        const body = parts.join('');
        const right = response.statusCode === 200 && (path !== undefined || body === BODY);
        resolve(right ? undefined : `status ${String(response.statusCode)}, body ${JSON.stringify(body.slice(0, 200))}`);
      });
    });
    exchange.on('timeout', () => exchange.destroy(new Error('no answer within 2 s')));
    exchange.on('error', (error) => resolve(error.message));
    exchange.end();
  });
}
