/** Closed-loop load with wrk: as many requests as the proxy answers. */
import { join } from 'node:path';

import { BODY, HOST } from '../backend.ts';
import type { Bench, Peer } from '../bench.ts';

export interface WrkOptions {
  readonly connections: number;
  readonly seconds: number;
  /** A new connection per request. */
  readonly close: boolean;
}

/** As printed by report.lua. */
export interface WrkReport {
  readonly requests: number;
  readonly bytes: number;
  readonly durationUs: number;
  readonly connectErrors: number;
  readonly readErrors: number;
  readonly writeErrors: number;
  readonly statusErrors: number;
  readonly timeouts: number;
}

export async function runWrk(bench: Bench, peer: Peer, options: WrkOptions): Promise<WrkReport> {
  const command = [
    'wrk',
    '-t', '1',
    '-c', String(options.connections),
    '-d', `${String(options.seconds)}s`,
    '-s', join(import.meta.dirname, 'report.lua'),
    '-H', `Host: ${HOST}`,
    ...(options.close ? ['-H', 'Connection: close'] : []),
    `http://${peer.http.host}:${String(peer.http.port)}/`,
  ];
  return parseWrk(await bench.processes.run(command, { netns: peer.netns, core: bench.loadCore }, (options.seconds + 10) * 1000));
}

/** The last line of wrk's output, which report.lua wrote. Throws when it is not there. */
export function parseWrk(output: string): WrkReport {
  const line = output.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) throw new Error(`wrk did not end with its report: ${output.slice(-200)}`);
  return JSON.parse(line) as WrkReport;
}

/** Why the figures of a wrk run cannot be believed; empty when they can. `served` is what the backend counted meanwhile. */
export function wrkProblems(report: WrkReport, served: number, connections: number): string[] {
  const problems: string[] = [];
  if (report.requests === 0) problems.push('no request was answered');
  for (const kind of ['connectErrors', 'readErrors', 'writeErrors', 'statusErrors', 'timeouts'] as const) {
    if (report[kind] > 0) problems.push(`wrk counts ${String(report[kind])} ${kind}`);
  }
  if (report.bytes < report.requests * BODY.length) problems.push('the answers are shorter than the backend\'s body');
  // One request of each connection may be cut off by the end of the run, after it was served.
  if (served < report.requests || served > report.requests + connections) {
    problems.push(`wrk counts ${String(report.requests)} answers, but the backend served ${String(served)}`);
  }
  return problems;
}
