/**
 * Who makes the far end of a pair work alone: an Envoy, no part of what is measured, that opens a tunnel for each connection, with a
 * TCP connection, a mutual TLS handshake in full and HTTP/2 of its own.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Bench, TunnelEnd } from '../bench.ts';
import { envoyCommand } from '../peers/foreign.ts';
import { logOf, waitForAnswers } from '../serving.ts';
import { tunnelOpenerConfig } from './envoy.ts';
import type { Site } from './site.ts';

interface FarEnd {
  readonly name: string;
  readonly pid: number;
  /** Where it takes tunnels, on the application's address. */
  readonly port: number;
}

const PORT = 9000;

/** Starts one on the core of the load and waits until a request comes through the far end. Throws with its log when it does not. */
export async function startTunnelOpener(bench: Bench, { backend, outsider, certificates }: Site, { name, pid, port }: FarEnd): Promise<TunnelEnd> {
  const http = { host: '127.0.0.1', port: PORT };
  const path = join(bench.dir, `${name}-opener.json`);
  writeFileSync(path, tunnelOpenerConfig(http.port, { host: backend.address, port }, backend.address, certificates.client));
  const logFile = logOf(bench, `${name}-opener`);
  bench.processes.start(envoyCommand(path), { netns: outsider.netns, core: bench.loadCore }, logFile);
  await waitForAnswers(bench, outsider.netns, http, logFile);
  return { pid, netns: outsider.netns, http };
}
