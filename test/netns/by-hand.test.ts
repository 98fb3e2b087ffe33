/** `orlop redirect check` and `clean`, as an operator uses them on a pod that some agent has captured. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRedirector } from '../../src/redirect/detect.ts';
import { captureLeftovers } from '../../src/redirect/leftovers.ts';
import { App, greet } from '../spec/apps.ts';
import { ForwardingAgent } from '../spec/forwarding-agent.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const objectPath = fileURLToPath(new URL('../../bpf/capture.bpf.o', import.meta.url));
const node = `hand-${process.pid}`;

function orlop(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, 'redirect', ...args], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

describe.each(['iptables', 'ebpf'] as const)('by hand, captured by %s', (kind) => {
  let cluster: Cluster;
  let client: Host;
  let server: Host;
  let app: App;
  let agent: ForwardingAgent;

  beforeEach(() => {
    cluster = Cluster.create({ nodes: 1 });
    client = cluster.addPod(1, 'client');
    server = cluster.addPod(1, 'server');
    app = new App(server, 8080);
    agent = new ForwardingAgent(openRedirector(kind, { node, objectPath }).redirector);
    agent.enrol(client);
  });

  afterEach(async () => {
    agent.uninstall();
    app[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test('check says whether all is as it should be, and what is not', () => {
    expect(orlop('check', client.netnsPath)).toEqual({ code: 0, out: `captured by ${kind}, as it should be\n`, err: '' });
    const other = orlop('check', client.netnsPath, '--annotation', 'orlop.io/exclude-outbound-ports=25');
    expect(other.code).toBe(1);
    expect(other.out).toContain('expected ');
    cluster.exec(client, 'ip', ['route', 'flush', 'table', '100']);
    const drift = orlop('check', client.netnsPath);
    expect([drift.code, drift.out]).toEqual([1, 'expected ip -4 route local default dev lo table 100\n   found none\n1 differences; a running agent repairs them within 5 s\n']);
  });

  test('clean ends the capture of a pod whose agent is gone', async () => {
    agent.crash();
    await expect(greet(client, server.ipv4, 8080)).rejects.toThrow('ECONNREFUSED');
    expect(orlop('clean', client.netnsPath).code).toBe(0);
    expect(await greet(client, server.ipv4, 8080)).toBe(`${server.name} sees ${client.ipv4}`);
    expect(cluster.exec(client, 'ip', ['rule'])).not.toContain('0x111');
  });

  test('clean --node removes a node\'s programs', () => {
    agent.crash();
    expect(orlop('clean', '--node', node)).toEqual({ code: 0, out: kind === 'ebpf' ? `the BPF programs of ${node} are gone\n` : `${node} has no BPF programs here\n`, err: '' });
    orlop('clean', client.netnsPath);
  });

  test('what an agent has left is found without knowing what it did, and removed', async () => {
    agent.crash();
    // One process, in the pod.
    const proc = mkdtempSync(join(tmpdir(), 'orlop-proc-'));
    mkdirSync(join(proc, '1/ns'), { recursive: true });
    symlinkSync(client.netnsPath, join(proc, '1/ns/net'));
    try {
      const found = captureLeftovers(node, { remove: false, proc });
      expect(found.some((what) => what.startsWith(kind === 'ebpf' ? 'BPF programs in ' : 'iptables-')), found.join('; ')).toBe(true);
      expect(found.some((what) => what.startsWith('routing rule '))).toBe(true);
      expect(captureLeftovers(node, { remove: true, proc })).toEqual(found);
      expect(captureLeftovers(node, { remove: false, proc })).toEqual([]);
    } finally {
      rmSync(proc, { recursive: true });
    }
    expect(await greet(client, server.ipv4, 8080)).toBe(`${server.name} sees ${client.ipv4}`);
  });
});

test.each([
  [['check', '/run/netns/there-is-none'], 64, 'there is no /run/netns/there-is-none'],
  [['clean'], 64, 'give a network namespace or --node NAME'],
  [['clean', '--node', '../etc'], 1, '"../etc" is not a node name'],
  [['render', '--annotation', 'nothing'], 64, 'write it as key=value'],
  [['render', '--redirect', 'magic'], 64, 'iptables, ebpf'],
])('a mistake in `redirect %s` is told in a line', (args, code, message) => {
  const result = orlop(...args);
  expect(result.code).toBe(code);
  expect(result.err).toContain(message);
  expect(result.err).not.toContain('    at ');
});

test('render prints rules or map entries, each problem on stderr, and does nothing', () => {
  const rules = orlop('render', '--annotation', 'config.linkerd.io/skip-outbound-ports=25,smtp');
  expect([rules.code, rules.err]).toEqual([0, expect.stringContaining('"smtp" is not a port')]);
  expect(rules.out).toContain('-A ORLOP_OUTPUT -p tcp -m tcp --dport 25 -j RETURN');
  const plan = orlop('render', '--redirect', 'ebpf', '--address', '10.0.0.7', '--annotation', 'orlop.io/exclude-uids=1000');
  expect(plan.out).toContain('"cidr": "10.0.0.7/32"');
});
