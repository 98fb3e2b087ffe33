import { copyFileSync, appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EbpfRedirector } from '../../src/redirect/ebpf/redirector.ts';
import { nodeDirectory } from '../../src/redirect/ebpf/pins.ts';
import { linkDetach, objGet } from '../../src/sys/bpf.ts';
import { closeFd } from '../../src/sys/socket.ts';
import { App, greet } from '../spec/apps.ts';
import { ForwardingAgent } from '../spec/forwarding-agent.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';
import { listing, output, redirectorSuite } from '../spec/redirector.ts';

const objectPath = fileURLToPath(new URL('../../bpf/capture.bpf.o', import.meta.url));

redirectorSuite({
  name: 'eBPF',
  open: (node) => new EbpfRedirector({ node, objectPath }),
  sabotage: (_, pod, node) => {
    const [directory = ''] = listing(nodeDirectory(node)).map((name) => `${nodeDirectory(node)}/${name}`);
    rmSync(`${directory}/pods/${pod.netns.cookie}`);
    rmSync(`${directory}/maps/accepted`, { force: true });
    const connect = objGet(`${directory}/links/connect4`);
    if (connect === undefined) return;
    linkDetach(connect);
    closeFd(connect);
    rmSync(`${directory}/links/socket_ops`, { force: true });
  },
  footprint: () => {
    const mount = readFileSync('/proc/self/mounts', 'utf8').split('\n').find((line) => line.includes(' cgroup2 '))?.split(' ')[1] ?? '';
    return [...listing('/sys/fs/bpf/orlop'), output('bpftool', ['cgroup', 'show', mount])];
  },
});

describe('the programs', () => {
  const node = `programs-${process.pid}`;
  let cluster: Cluster;
  let client: Host;
  let server: Host;
  let app: App;
  let redirector: EbpfRedirector;
  let agent: ForwardingAgent;

  beforeEach(() => {
    cluster = Cluster.create({ nodes: 1 });
    client = cluster.addPod(1, 'client');
    server = cluster.addPod(1, 'server');
    app = new App(server, 8080);
    start(objectPath);
  });

  afterEach(async () => {
    agent.uninstall();
    app[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  function start(path: string): void {
    redirector = new EbpfRedirector({ node, objectPath: path });
    agent = new ForwardingAgent(redirector);
    agent.enrol(client);
    agent.enrol(server);
  }

  test('an agent with other programs takes over pod by pod, and removes its predecessor\'s', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'orlop-bpf-'));
    try {
      const newer = join(directory, 'capture.bpf.o');
      copyFileSync(objectPath, newer);
      appendFileSync(newer, '\n');
      agent.crash();
      start(newer);
      expect(listing(nodeDirectory(node))).toHaveLength(2);
      expect(await greet(client, server.ipv4, 8080)).toBe(`${server.name} sees ${client.ipv4}`);
      redirector.removeLeftovers(['/run/netns/a-pod-that-is-gone']);
      expect(listing(nodeDirectory(node))).toHaveLength(1);
      expect(await greet(client, server.ipv6, 8080)).toBe(`${server.name} sees ${client.ipv6}`);
      expect(agent.captured).toHaveLength(4);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('count what they refuse because the agent is gone, and lose nothing else', async () => {
    await greet(client, server.ipv4, 8080);
    expect(redirector.counters()).toEqual({ handshakesFull: 0, storageFailed: 0, deviceBound: 0, listenerMissing: 0 });
    agent.crash();
    const bystander = cluster.addPod(1, 'bystander');
    await expect(greet(bystander, server.ipv4, 8080)).rejects.toThrow('ECONNREFUSED');
    start(objectPath);
    expect(redirector.counters().listenerMissing).toBe(1);
  });

  test('leave a socket bound to a device alone, and count it', () => {
    const script = `import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 25, b'eth0'); s.connect(('${server.ipv4}', 15008))`;
    // Straight to where the server takes tunnels, the one port that is not captured there either.
    cluster.exec(client, 'python3', ['-c', script]);
    expect(redirector.counters().deviceBound).toBe(1);
    expect(agent.captured).toEqual([]);
  });

  test('keep no handshake of connections that have ended', async () => {
    await Promise.all(Array.from({ length: 50 }, () => greet(client, server.ipv4, 8080)));
    agent.crash();
    await Promise.allSettled(Array.from({ length: 20 }, () => greet(client, server.ipv4, 8080)));
    const [object = ''] = listing(nodeDirectory(node));
    expect(output('bpftool', ['map', 'dump', 'pinned', `${nodeDirectory(node)}/${object}/maps/handshakes`]).trim()).toMatch(/^(\[\]|Found 0 elements)$/);
  });
});
