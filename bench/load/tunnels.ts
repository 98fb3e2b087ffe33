/**
 * Opens a tunnel for each request, against the server of tunnels alone: TCP, a mutual TLS handshake in full, HTTP/2, one CONNECT,
 * one HTTP/1.1 request in it, and the end of it all. The frames are written by hand: they are the same each time.
 *
 *     tunnels.ts HOST PORT AUTHORITY CHAIN KEY ROOT SIDE_BY_SIDE SECONDS     prints one line of JSON: see TunnelsResult
 */
import { readFileSync } from 'node:fs';
import { connect, createSecureContext, type TLSSocket } from 'node:tls';

import { BODY, HOST } from '../backend.ts';
import { clientOpening, frame, FrameReader, isOk, type Frame } from './http2-frames.ts';
import { readResponse } from './response.ts';

export interface TunnelsResult {
  readonly requests: number;
  readonly durationUs: number;
}

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const GOAWAY = 7;
const ACK = 1;
const STREAM = 1;

/** Longer than any answer takes: a tunnel that hangs is an error. */
const TUNNEL_TIMEOUT_MS = 10_000;

const [host, port, authority, chain, key, root, sideBySide, seconds] = process.argv.slice(2) as [string, string, string, string, string, string, string, string];
const secureContext = createSecureContext({ cert: readFileSync(chain), key: readFileSync(key), ca: readFileSync(root), minVersion: 'TLSv1.3' });
const opening = clientOpening(authority);
const request = frame(DATA, 0, STREAM, Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`));
const settingsAck = frame(SETTINGS, ACK, 0, Buffer.alloc(0));
const startMs = performance.now();
const endMs = startMs + Number(seconds) * 1000;
let answered = 0;
let underWay = 0;

for (let side = 0; side < Number(sideBySide); side++) openTunnel();

function openTunnel(): void {
  underWay += 1;
  // The server's name is a SPIFFE id, and which one says nothing here; its chain is verified.
  const socket = connect({ host, port: Number(port), secureContext, ALPNProtocols: ['h2'], checkServerIdentity: () => undefined });
  const reader = new FrameReader();
  const parts: Buffer[] = [];
  let right = false;
  socket.setNoDelay(true);
  socket.setTimeout(TUNNEL_TIMEOUT_MS, () => fail('no answer in time'));
  socket.on('secureConnect', () => socket.write(opening));
  socket.on('data', (chunk: Buffer) => {
    for (const received of reader.feed(chunk)) right ||= take(socket, received, parts);
  });
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => {
    if (!right) fail('the tunnel was closed before its answer');
    underWay -= 1;
    answered += 1;
    if (performance.now() < endMs) openTunnel();
    else if (underWay === 0) report();
  });
}

/** True when this was the last of the right answer: the connection has been ended. */
function take(socket: TLSSocket, { type, flags, payload }: Frame, parts: Buffer[]): boolean {
  if (type === SETTINGS && (flags & ACK) === 0) socket.write(settingsAck);
  if (type === HEADERS) {
    if (!isOk(payload)) fail('the CONNECT was not answered with 200');
    socket.write(request);
  }
  if (type === RST_STREAM || type === GOAWAY) fail(`frame of type ${String(type)} before the answer`);
  if (type !== DATA) return false;
  parts.push(payload);
  const response = readResponse(Buffer.concat(parts));
  if (response === undefined) return false;
  if (response.status !== 200 || response.body !== BODY) fail(`wrong answer, status ${String(response.status)}: ${response.body}`);
  socket.end();
  return true;
}

function report(): void {
  const result: TunnelsResult = { requests: answered, durationUs: (performance.now() - startMs) * 1000 };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function fail(reason: string): never {
  process.stderr.write(`tunnel ${String(answered)}: ${reason}\n`);
  process.exit(1);
}
