/** h2spec, the conformance test of RFC 9113 and RFC 7541, against the server side of the codec. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ECHO, serving } from '../codec-harness.ts';

const H2SPEC = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'orlop/bin/h2spec');
/** Cases in the version that scripts/h2spec/go.mod names. */
const CASES = 145;

/** What h2spec prints, without its colours. */
async function h2spec(port: number): Promise<string> {
  const child = spawn(H2SPEC, ['--host', '127.0.0.1', '--port', String(port), '--timeout', '5'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await new Promise((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  return output.replaceAll(/\u001b\[[0-9;]*m/g, '');
}

it('passes every case of h2spec', async () => {
  if (!existsSync(H2SPEC)) throw new Error(`${H2SPEC} is not there: run scripts/h2spec.sh (it needs Go)`);
  const server = await serving(ECHO, 'http2');
  try {
    const output = await h2spec(server.port);
    expect(output).toContain(`${CASES} tests, ${CASES} passed, 0 skipped, 0 failed`);
  } finally {
    server.close();
  }
}, 120_000);
