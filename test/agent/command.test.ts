/** `orlop agent` and its kin as a user mistypes them: one line that says what to do, and the exit code for it. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ORLOP = join(import.meta.dirname, '../../bin/orlop');

function orlop(...argv: readonly string[]): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(ORLOP, argv, { encoding: 'utf8' });
  return { status, stderr };
}

describe('a wrong command line', () => {
  it.each([
    [['agent'], 64, /--node <name>/],
    [['agent', '--node', 'n'], 64, /no service account .* give --config .*, or --kubeconfig/],
    [['agent', '--node', 'n', '--kubeconfig', '/nowhere'], 64, /--kubeconfig \/nowhere does not exist/],
    [['agent', '--node', 'n', '--kubeconfig', '/tmp', '--config', '/tmp'], 64, /exclude each other/],
    [['agent', '--config', '/nowhere', '--node', 'n'], 64, /--config \/nowhere is not a directory/],
    [['agent', '--config', '/tmp', '--node', 'n', '--redirect', 'magic'], 64, /auto, iptables, ebpf/],
    [['agent', '--config', '/tmp', '--node', 'n', '--concurrency', '0'], 64, /whole number from 1 to 256/],
    [['agent', '--config', '/tmp', '--node', 'n', '--metrics-port', 'x'], 64, /port from 1 to 65535/],
    [['frobnicate'], 64, /unknown command 'frobnicate'/],
    [['config', 'dump', '--run-dir', '/nowhere'], 69, /no agent answers at \/nowhere\/admin\.sock/],
    [['redirect', 'check', '/nowhere'], 64, /there is no \/nowhere/],
  ])('%j ends with %i and names the remedy', (argv, code, message) => {
    const { status, stderr } = orlop(...argv);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(status).toBe(code);
  });
});
