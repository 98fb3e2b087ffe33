/** `--redirect auto`: each pod gets a backend that honours all its annotations, and may pass from one to the other. */
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NO_EXCLUSIONS } from '../../src/redirect/exclusions.ts';
import { openRedirector } from '../../src/redirect/detect.ts';
import type { Redirector } from '../../src/redirect/redirector.ts';
import { App, call, greet } from '../spec/apps.ts';
import { ForwardingAgent } from '../spec/forwarding-agent.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

const objectPath = fileURLToPath(new URL('../../bpf/capture.bpf.o', import.meta.url));
const node = `auto-${process.pid}`;
const PORT = 8080;

let cluster: Cluster;
let client: Host;
let server: Host;
let app: App;
let redirector: Redirector;
let agent: ForwardingAgent;

beforeEach(() => {
  cluster = Cluster.create({ nodes: 1 });
  client = cluster.addPod(1, 'client');
  server = cluster.addPod(1, 'server');
  app = new App(server, PORT);
  open('auto');
});

afterEach(async () => {
  agent.uninstall();
  app[Symbol.dispose]();
  await cluster[Symbol.asyncDispose]();
});

function open(mode: 'auto' | 'iptables' | 'ebpf'): string {
  const opened = openRedirector(mode, { node, objectPath });
  redirector = opened.redirector;
  agent = new ForwardingAgent(redirector);
  return opened.reason;
}

function redirects(pod: Host): boolean {
  return cluster.exec(pod, 'iptables-save', ['-t', 'nat']).includes('-j ORLOP_OUTPUT');
}

test('eBPF for a pod it can serve, iptables for one whose exclusions need rules', async () => {
  agent.enrol(client, { excludeInterfaces: ['eth7'] });
  agent.enrol(server);
  expect([redirects(client), redirects(server)]).toEqual([true, false]);
  expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
  expect(agent.captured).toHaveLength(2);
  expect(redirector.unsupported({ ...NO_EXCLUSIONS, excludeInterfaces: ['eth7'] })).toEqual([]);
});

test('a pod whose annotations change passes from one backend to the other, connections and all', async () => {
  agent.enrol(client, { excludeInterfaces: ['eth7'] });
  using first = await call(client, server.ipv4, PORT);
  agent.enrol(client);
  expect(redirects(client)).toBe(false);
  expect(await first.echo('rules')).toBe('rules');
  using second = await call(client, server.ipv4, PORT);
  agent.enrol(client, { excludeInterfaces: ['eth7'] });
  expect(redirects(client)).toBe(true);
  expect([await first.echo('again'), await second.echo('programs')]).toEqual(['again', 'programs']);
  await greet(client, server.ipv4, PORT);
  expect(agent.captured).toHaveLength(3);
  redirector.tidy();
  expect(redirector.check(client.name)).toEqual([]);
});

test('an agent with the other backend takes over from one that crashed', async () => {
  for (const pod of [client, server]) agent.enrol(pod);
  for (const mode of ['ebpf', 'iptables', 'ebpf'] as const) {
    agent.crash();
    expect(open(mode)).toContain(mode);
    // Until the next one captures, what the last one left is in force, and lets nobody around the mesh.
    await expect(greet(client, server.ipv4, PORT)).rejects.toThrow(/ECONNREFUSED/);
    agent.enrol(client);
    agent.enrol(server);
    redirector.removeLeftovers([]);
    expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
    expect(agent.captured).toHaveLength(2);
    expect([redirects(client), redirects(server)]).toEqual([mode === 'iptables', mode === 'iptables']);
    expect([...redirector.check(client.name), ...redirector.check(server.name)]).toEqual([]);
  }
});

test('two nodes: the client\'s address arrives across the network', async () => {
  const other = Cluster.create({ nodes: 2 });
  try {
    const [near, far] = [other.addPod(1, 'near'), other.addPod(2, 'far')];
    using _ = new App(far, PORT);
    agent.enrol(near);
    agent.enrol(far);
    for (const [address, seen] of [[far.ipv4, near.ipv4], [far.ipv6, near.ipv6]] as const) expect(await greet(near, address, PORT)).toBe(`${far.name} sees ${seen}`);
    expect(agent.captured).toHaveLength(4);
    for (const pod of [near, far]) agent.release(pod);
  } finally {
    await other[Symbol.asyncDispose]();
  }
});
