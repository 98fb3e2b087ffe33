/** One run of the Gateway API's conformance suite against a cluster. */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { VerdictReader } from './verdicts.ts';
import type { Verdict } from './verdicts.ts';

/** Above what the suite's own limits of each step add up to when many of them fail. */
const TIMEOUT = '120m';

export interface SuiteRun {
  /** What scripts/gateway-conformance.sh printed. */
  readonly home: string;
  readonly kubeconfig: string;
  /** Flags of the suite, `-conformance-profiles=…`. */
  readonly flags: readonly string[];
  /** Everything that it prints goes there. */
  readonly logPath: string;
  readonly onVerdict: (verdict: Verdict) => void;
}

/** Run the suite to its end; resolves to whether all of it passed. */
export async function runSuite({ home, kubeconfig, flags, logPath, onVerdict }: SuiteRun): Promise<boolean> {
  const child = spawn(`${home}/bin/conformance.test`, ['-test.v', `-test.timeout=${TIMEOUT}`, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, KUBECONFIG: kubeconfig },
  });
  const log = createWriteStream(logPath);
  const reader = new VerdictReader();
  child.stderr.pipe(log, { end: false });
  createInterface(child.stdout).on('line', (line) => {
    log.write(`${line}\n`);
    const verdict = reader.read(line);
    if (verdict !== undefined) onVerdict(verdict);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      log.end(() => {
        resolve(code === 0);
      });
    });
  });
}
