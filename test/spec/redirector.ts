/**
 * What every backend of capture does, as applications and operators see it. Run by test/netns/{iptables,ebpf}.test.ts in
 * real network namespaces, with the smallest agent there can be in the data path.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Exclusions } from '../../src/redirect/exclusions.ts';
import { Reconciler } from '../../src/redirect/reconciler.ts';
import type { Drift, Redirector } from '../../src/redirect/redirector.ts';
import { Cluster } from '../netns/cluster.ts';
import type { Host } from '../netns/cluster.ts';
import { App, call, greet } from './apps.ts';
import { ForwardingAgent } from './forwarding-agent.ts';

export interface Backend {
  readonly name: string;
  /** A redirector for one node of the cluster. */
  open(node: string): Redirector;
  /** Undo the pod's capture behind the agent's back, as an administrator or another program would. */
  sabotage(cluster: Cluster, pod: Host, node: string): void;
  /** What of the backend is in the kernel for all pods together: compared before and after. */
  footprint(): string[];
}

const PORT = 8080;
const OTHER_PORT = 9090;

export function redirectorSuite(backend: Backend): void {
  describe(`capture by ${backend.name}`, () => {
    let cluster: Cluster;
    let client: Host;
    let server: Host;
    let node: string;
    let agent: ForwardingAgent;
    let redirector: Redirector;
    let disposables: DisposableStack;

    beforeEach(() => {
      cluster = Cluster.create({ nodes: 1 });
      client = cluster.addPod(1, 'client');
      server = cluster.addPod(1, 'server');
      disposables = new DisposableStack();
      node = `test-${process.pid}`;
      redirector = backend.open(node);
      agent = new ForwardingAgent(redirector);
    });

    afterEach(async () => {
      disposables.dispose();
      agent.uninstall();
      await cluster[Symbol.asyncDispose]();
    });

    const serve = (on: Host, port = PORT): App => disposables.use(new App(on, port));
    const outbound = (): string[] => agent.captured.filter(({ direction }) => direction === 'outbound').map(({ destination }) => destination);
    const inbound = (): string[] => agent.captured.filter(({ direction }) => direction === 'inbound').map(({ destination }) => destination);

    test('an outbound connection arrives at the agent with its destination, IPv4 and IPv6', async () => {
      serve(server);
      agent.enrol(client);
      expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
      expect(await greet(client, server.ipv6, PORT)).toBe(`${server.name} sees ${client.ipv6}`);
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`, `${server.ipv6} ${PORT}`]);
    });

    test('a v4-mapped connect of an IPv6 socket is an IPv4 connection', async () => {
      serve(server);
      agent.enrol(client);
      expect(await greet(client, server.ipv4, PORT, { mapped: true })).toBe(`${server.name} sees ${client.ipv4}`);
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('an inbound connection arrives at the agent, and the application sees the client\'s address', async () => {
      serve(server);
      agent.enrol(server);
      expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
      expect(await greet(client, server.ipv6, PORT)).toBe(`${server.name} sees ${client.ipv6}`);
      expect(inbound()).toEqual([`${server.ipv4} ${PORT}`, `${server.ipv6} ${PORT}`]);
    });

    test('both ends captured: bytes pass both ways, and half-close is kept', async () => {
      serve(server);
      agent.enrol(client);
      agent.enrol(server);
      using connection = await call(client, server.ipv4, PORT);
      expect(await connection.echo('first')).toBe('first');
      expect(await connection.echo('x'.repeat(200_000))).toBe('x'.repeat(200_000));
      const ended = new Promise((resolve) => connection.socket.once('end', resolve));
      connection.socket.end();
      await ended;
    });

    test('the application sees the peer it meant to reach', async () => {
      serve(server);
      agent.enrol(client);
      for (const [address, options, seen] of [[server.ipv4, {}, server.ipv4], [server.ipv6, {}, server.ipv6], [server.ipv4, { mapped: true }, `::ffff:${server.ipv4}`]] as const) {
        using connection = await call(client, address, PORT, options);
        expect([connection.socket.remoteAddress, connection.socket.remotePort]).toEqual([seen, PORT]);
      }
    });

    test('many connections at once all keep their destination', async () => {
      const ports = [8001, 8002, 8003, 8004];
      for (const port of ports) serve(server, port);
      agent.enrol(client);
      agent.enrol(server);
      const wanted = Array.from({ length: 200 }, (_, i) => ({ address: i % 2 === 0 ? server.ipv4 : server.ipv6, port: ports[i % ports.length] ?? PORT }));
      const greetings = await Promise.all(wanted.map(({ address, port }) => greet(client, address, port)));
      expect(greetings).toEqual(wanted.map(({ address }) => `${server.name} sees ${address === server.ipv4 ? client.ipv4 : client.ipv6}`));
      expect(outbound().toSorted()).toEqual(wanted.map(({ address, port }) => `${address} ${port}`).toSorted());
    });

    test('a connection from a bound source address is captured too', async () => {
      serve(server);
      agent.enrol(client);
      await greet(client, server.ipv4, PORT, { bindAddress: client.ipv4 });
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('loopback and the pod\'s calls to itself are untouched', async () => {
      serve(client);
      agent.enrol(client);
      expect(await greet(client, '127.0.0.1', PORT)).toContain(client.name);
      expect(await greet(client, '::1', PORT)).toContain(client.name);
      expect(await greet(client, '127.0.0.1', PORT, { mapped: true })).toContain(client.name);
      expect(await greet(client, client.ipv4, PORT)).toBe(`${client.name} sees ${client.ipv4}`);
      expect(await greet(client, client.ipv6, PORT)).toBe(`${client.name} sees ${client.ipv6}`);
      expect(agent.captured).toEqual([]);
    });

    test('a pod that is not enrolled is untouched', async () => {
      const bystander = cluster.addPod(1, 'bystander');
      serve(server);
      agent.enrol(client);
      expect(await greet(bystander, server.ipv4, PORT)).toContain(server.name);
      expect(agent.captured).toEqual([]);
    });

    test('UDP is untouched', () => {
      agent.enrol(client);
      agent.enrol(server);
      cluster.spawn(server, process.execPath, ['-e', UDP_ECHO]);
      for (const address of [server.ipv4, server.ipv6]) expect(cluster.exec(client, process.execPath, ['-e', UDP_CLIENT, address])).toBe('echo');
      expect(agent.captured).toEqual([]);
    });

    test.each<[string, Partial<Exclusions>, { captured: (host: Host) => [string, number][]; untouched: (host: Host) => [string, number][] }]>([
      ['outbound ports', { excludeOutboundPorts: [{ from: 8000, to: 8099 }, { from: 7070, to: 7070 }] }, { captured: (host) => [[host.ipv4, OTHER_PORT]], untouched: (host) => [[host.ipv4, PORT], [host.ipv6, PORT]] }],
      ['IPv4 ranges', { excludeOutboundCidrs: ['10.77.1.0/24'] }, { captured: (host) => [[host.ipv6, PORT]], untouched: (host) => [[host.ipv4, PORT]] }],
      ['IPv6 ranges', { excludeOutboundCidrs: ['fd77:1::/64'] }, { captured: (host) => [[host.ipv4, PORT]], untouched: (host) => [[host.ipv6, PORT]] }],
      ['all but included ranges', { includeOutboundCidrs: ['fd77:1::/64'] }, { captured: (host) => [[host.ipv6, PORT]], untouched: (host) => [[host.ipv4, PORT]] }],
      ['all but included ranges and ports', { includeOutboundCidrs: [], includeOutboundPorts: [{ from: OTHER_PORT, to: OTHER_PORT }] }, { captured: (host) => [[host.ipv4, OTHER_PORT]], untouched: (host) => [[host.ipv4, PORT], [host.ipv6, PORT]] }],
    ])('excluded outbound: %s', async (_, exclusions, expected) => {
      serve(server);
      serve(server, OTHER_PORT);
      agent.enrol(client, exclusions);
      for (const [address, port] of [...expected.untouched(server), ...expected.captured(server)]) await greet(client, address, port);
      expect(outbound()).toEqual(expected.captured(server).map(([address, port]) => `${address} ${port}`));
    });

    test.each<[string, Partial<Exclusions>, { captured: (host: Host) => [string, number][]; untouched: (host: Host) => [string, number][] }]>([
      ['ports', { excludeInboundPorts: [{ from: PORT, to: PORT }] }, { captured: (host) => [[host.ipv4, OTHER_PORT]], untouched: (host) => [[host.ipv4, PORT], [host.ipv6, PORT]] }],
      ['sources', { excludeInboundCidrs: ['10.77.0.0/16'] }, { captured: (host) => [[host.ipv6, PORT]], untouched: (host) => [[host.ipv4, PORT]] }],
      ['all but included ports', { includeInboundPorts: [{ from: PORT, to: PORT }] }, { captured: (host) => [[host.ipv4, PORT]], untouched: (host) => [[host.ipv4, OTHER_PORT], [host.ipv6, OTHER_PORT]] }],
      ['all ports', { includeInboundPorts: [] }, { captured: () => [], untouched: (host) => [[host.ipv4, PORT], [host.ipv6, OTHER_PORT]] }],
    ])('excluded inbound: %s', async (_, exclusions, expected) => {
      serve(server);
      serve(server, OTHER_PORT);
      agent.enrol(server, exclusions);
      for (const [address, port] of [...expected.untouched(server), ...expected.captured(server)]) await greet(client, address, port);
      expect(inbound()).toEqual(expected.captured(server).map(([address, port]) => `${address} ${port}`));
    });

    test('excluded users, groups, and ports of some users', async () => {
      serve(server);
      serve(server, OTHER_PORT);
      agent.enrol(client, {
        excludeUids: [{ from: 4001, to: 4002 }],
        excludeGids: [{ from: 4100, to: 4100 }],
        excludeOutboundPortsForUids: [{ ids: [{ from: 4003, to: 4003 }], ports: [{ from: PORT, to: PORT }] }],
      });
      for (const [uid, gid, port] of [[4001, 1, PORT], [4002, 1, OTHER_PORT], [1, 4100, PORT], [4003, 1, PORT], [4003, 1, OTHER_PORT]] as const) {
        cluster.exec(client, 'bash', ['-c', `exec 3<>/dev/tcp/${server.ipv4}/${port}`], { uid, gid });
      }
      // Accepted after those above, so that all of them have been seen when it is.
      await greet(client, server.ipv6, PORT);
      await expect.poll(() => outbound().toSorted()).toEqual([`${server.ipv4} ${OTHER_PORT}`, `${server.ipv6} ${PORT}`].toSorted());
    });

    test('a user that is not excluded is captured', async () => {
      serve(server);
      agent.enrol(client, { excludeUids: [{ from: 4001, to: 4001 }] });
      const done = cluster.spawn(client, 'bash', ['-c', `exec 3<>/dev/tcp/${server.ipv4}/${PORT}; read -r line <&3; echo "$line"`], { uid: 4002, gid: 1 });
      const line = await new Promise<string>((resolve) => done.stdout?.once('data', (data: Buffer) => resolve(data.toString())));
      expect(line.trim()).toBe(`${server.name} sees ${client.ipv4}`);
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('a probe from the node goes through the agent and is answered', async () => {
      serve(server);
      agent.enrol(server);
      const kubelet = cluster.nodes[0] ?? server;
      expect(await greet(kubelet, server.ipv4, PORT)).toBe(`${server.name} sees ${kubelet.ipv4}`);
      expect(inbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('a connection to a port nobody listens on is closed, not left hanging', async () => {
      agent.enrol(server);
      await expect(greet(client, server.ipv4, 9999)).rejects.toThrow(/closed|ECONNRESET/);
    });

    test('connections made to the listeners themselves are closed, and never carried on in a circle', async () => {
      agent.enrol(client);
      agent.enrol(server);
      for (const [from, address, port] of [
        [client, '127.0.0.1', 15001], [client, '::1', 15001], [client, client.ipv4, 15006], [client, '127.0.0.1', 15006],
        [client, server.ipv4, 15006], [client, server.ipv4, 15001], [client, server.ipv6, 15006],
      ] as const) await expect(greet(from, address, port), `${address} ${port}`).rejects.toThrow(/closed|ECONNRESET|ECONNREFUSED/);
      expect(agent.captured.length).toBeLessThan(20);
    });

    test('an established connection survives enrolment, and one through the agent survives release', async () => {
      serve(server);
      using before = await call(client, server.ipv4, PORT);
      agent.enrol(client);
      agent.enrol(server);
      expect(await before.echo('still here')).toBe('still here');
      using during = await call(client, server.ipv4, PORT);
      expect(agent.captured).toHaveLength(2);
      agent.release(client);
      agent.release(server);
      expect(await before.echo('and here')).toBe('and here');
      expect(await during.echo('and here')).toBe('and here');
      await greet(client, server.ipv4, PORT);
      expect(agent.captured).toHaveLength(2);
    });

    test('agent gone: new connections fail rather than go around the mesh, and work again when it is back', async () => {
      serve(server);
      agent.enrol(client);
      agent.enrol(server);
      agent.crash();
      const bystander = cluster.addPod(1, 'bystander');
      await expect(greet(client, server.ipv4, PORT)).rejects.toThrow(/ECONNREFUSED/);
      await expect(greet(bystander, server.ipv4, PORT)).rejects.toThrow(/ECONNREFUSED/);
      await expect(greet(bystander, server.ipv6, PORT)).rejects.toThrow(/ECONNREFUSED/);

      redirector = backend.open(node);
      agent = new ForwardingAgent(redirector);
      agent.enrol(client);
      agent.enrol(server);
      redirector.removeLeftovers([]);
      expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
      expect(agent.captured).toHaveLength(2);
      expect([...redirector.check(client.name), ...redirector.check(server.name)]).toEqual([]);
    });

    test('an agent that is back removes what its predecessor left of pods no longer enrolled', async () => {
      serve(server);
      agent.enrol(client);
      agent.enrol(server);
      agent.crash();
      redirector = backend.open(node);
      agent = new ForwardingAgent(redirector);
      agent.enrol(client);
      redirector.removeLeftovers([server.netnsPath]);
      expect(await greet(cluster.addPod(1, 'bystander'), server.ipv4, PORT)).toContain(server.name);
      expect(state(cluster, server)).toBe(state(cluster, cluster.addPod(1, 'fresh')));
    });

    test('while no worker accepts, clients wait in the backlog; their destination waits with them', async () => {
      serve(server);
      agent.enrol(client);
      agent.pause(client);
      const waiting = greet(client, server.ipv4, PORT);
      await sleep(200);
      agent.resume(client);
      expect(await waiting).toBe(`${server.name} sees ${client.ipv4}`);
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('what an administrator undid by hand is reported and mended within 5 s', async () => {
      serve(server);
      agent.enrol(client);
      agent.enrol(server);
      const drifts: Drift[] = [];
      const errors: unknown[] = [];
      disposables.use(new Reconciler(redirector, { onDrift: (found) => drifts.push(...found), onError: (_, error) => errors.push(error) }));
      for (const pod of [client, server]) backend.sabotage(cluster, pod, node);
      const deadline = performance.now() + 5_000;
      while (performance.now() < deadline && new Set(drifts.map(({ podId }) => podId)).size < 2) await sleep(50);
      expect(errors).toEqual([]);
      expect(new Set(drifts.map(({ podId }) => podId))).toEqual(new Set([client.name, server.name]));
      expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
      expect(agent.captured).toHaveLength(2);
      expect([...redirector.check(client.name), ...redirector.check(server.name)]).toEqual([]);
    });

    test('enrolling again with other exclusions replaces the former ones', async () => {
      serve(server);
      agent.enrol(client, { excludeOutboundPorts: [{ from: PORT, to: PORT }], excludeOutboundCidrs: ['10.0.0.0/8'] });
      await greet(client, server.ipv4, PORT);
      expect(agent.captured).toEqual([]);
      agent.enrol(client);
      await greet(client, server.ipv4, PORT);
      expect(outbound()).toEqual([`${server.ipv4} ${PORT}`]);
    });

    test('uninstalling leaves nothing', async () => {
      agent.uninstall();
      const before = { client: state(cluster, client), server: state(cluster, server), kernel: backend.footprint() };
      agent = new ForwardingAgent(backend.open(node));
      serve(server);
      agent.enrol(client, { excludeOutboundCidrs: ['192.0.2.0/24'], excludeUids: [{ from: 1, to: 2 }] });
      agent.enrol(server);
      await greet(client, server.ipv4, PORT);
      expect(state(cluster, client)).not.toBe(before.client);
      agent.uninstall();
      expect({ client: state(cluster, client), server: state(cluster, server), kernel: backend.footprint() }).toEqual(before);
    });

    test('releasing leaves nothing in the pod, once its connections are closed', async () => {
      const before = state(cluster, server);
      serve(server);
      agent.enrol(server);
      const connection = await call(client, server.ipv4, PORT);
      agent.release(server);
      expect(await connection.echo('alive')).toBe('alive');
      const closed = new Promise((resolve) => connection.socket.once('close', resolve));
      connection.socket.destroy();
      await closed;
      const deadline = performance.now() + 5_000;
      while (performance.now() < deadline && state(cluster, server) !== before) {
        redirector.tidy();
        await sleep(50);
      }
      expect(state(cluster, server)).toBe(before);
    });

    test('two agents on one kernel each capture their own pods only', async () => {
      const secondNode = `${node}-b`;
      const second = new ForwardingAgent(backend.open(secondNode));
      try {
        serve(server);
        agent.enrol(client);
        second.enrol(server);
        expect(await greet(client, server.ipv4, PORT)).toBe(`${server.name} sees ${client.ipv4}`);
        expect(agent.captured).toEqual([{ pod: client.name, direction: 'outbound', destination: `${server.ipv4} ${PORT}` }]);
        expect(second.captured).toEqual([{ pod: server.name, direction: 'inbound', destination: `${server.ipv4} ${PORT}` }]);
      } finally {
        second.uninstall();
      }
      expect(await greet(client, server.ipv4, PORT)).toContain(server.name);
      expect(agent.captured).toHaveLength(2);
    });
  });
}

/** Everything capture could leave in a namespace: rules of both variants, routing, sysctls, sockets. */
function state(cluster: Cluster, host: Host): string {
  return cluster.exec(host, 'sh', ['-c', [
    'iptables-nft-save | grep -e ^-A -e "^:[^ ]* -"', 'ip6tables-nft-save | grep -e ^-A -e "^:[^ ]* -"', 'nft list ruleset | grep hook', 'cat /proc/net/ip_tables_names',
    'ip rule', 'ip -6 rule', 'ip route show table 100', 'ip -6 route show table 100', 'sysctl net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect net.ipv6.fwmark_reflect', 'ss -ltnH | grep -E ":1500[16] "', 'true',
  ].map((command) => `{ ${command}; } 2>/dev/null`).join('; ')]);
}

const UDP_ECHO = `const s = require('node:dgram').createSocket({ type: 'udp6' }); s.on('message', (m, r) => s.send(m, r.port, r.address)); s.bind(5353);`;
const UDP_CLIENT = `
const address = process.argv[1];
const s = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
const again = setInterval(() => s.send('echo', 5353, address), 50);
s.send('echo', 5353, address);
s.on('message', (m) => { process.stdout.write(m); clearInterval(again); s.close(); });
setTimeout(() => process.exit(1), 10_000).unref();`;

/** Names in a directory of the kernel, for footprints. */
export function listing(directory: string): string[] {
  try {
    return readdirSync(directory).toSorted();
  } catch {
    return [];
  }
}

export function output(command: string, args: readonly string[]): string {
  return spawnSync(command, args, { encoding: 'utf8' }).stdout;
}
