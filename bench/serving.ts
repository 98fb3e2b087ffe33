/** Waiting until a proxy under measurement answers with the backend's very bytes. */
import { join } from 'node:path';

import { loadProgram, type Bench, type Peer, type Target } from './bench.ts';
import { logTail } from './processes.ts';

const START_TIMEOUT_MS = 20_000;

/** Resolves once the peer carries a request to the backend and back unchanged. Throws with the end of its log when it does not. */
export async function waitUntilServing(bench: Bench, peer: Peer): Promise<void> {
  await waitFor(bench, peer.netns, loadProgram('probe', peer.http.host, String(peer.http.port)), `${peer.name} does not serve`, logOf(bench, peer.name));
}

/** The same for a proxy that is no peer. */
export async function waitForAnswers(bench: Bench, netns: string, { host, port }: Target, logFile: string): Promise<void> {
  await waitFor(bench, netns, loadProgram('probe', host, String(port)), `no answer at ${host}:${String(port)}`, logFile);
}

/** Resolves once the agent in `netns` says it is ready, without looking at what the answer holds. */
export async function waitUntilReady(bench: Bench, netns: string, target: Target, path: string, logFile: string): Promise<void> {
  const probe = loadProgram('probe', target.host, String(target.port), path);
  await waitFor(bench, netns, probe, `http://${target.host}:${String(target.port)}${path} does not answer 200`, logFile);
}

/** Where the server called `name` writes what it has to say. */
export function logOf(bench: Bench, name: string): string {
  return join(bench.dir, `${name}.log`);
}

async function waitFor(bench: Bench, netns: string, probe: string[], complaint: string, logFile: string): Promise<void> {
  try {
    await bench.processes.run([...probe, '--wait', String(START_TIMEOUT_MS)], { netns, core: bench.loadCore }, START_TIMEOUT_MS + 5_000);
  } catch (error) {
    throw new Error(`${complaint}: ${(error as Error).message}\nits log ends:\n${logTail(logFile)}`, { cause: error });
  }
}
