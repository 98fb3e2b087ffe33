/** Two nodes that demand mutual TLS everywhere: what passes between them, what within one, who is let in, and what happens when an end goes away. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/lab/command.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrapeAll, total } from '../../src/lab/mesh-view.ts';
import type { Series } from '../../src/lab/mesh-view.ts';
import { PacketCapture } from './capture.ts';
import { agentsReady, applied, echo, identityOf, mesh, NAMESPACE, pod, STRICT } from './mesh.ts';

const QUESTION = 'question-that-nobody-may-read';
const ANSWER = 'answer-that-nobody-may-read';
/** curl's words for a connection that is reset: while it was made, or once it was. */
const RESET = [7, 56];
const FABRIC = '/run/netns/ol-mtls';

let lab: Lab;

beforeAll(async () => {
  const topology = [
    mesh('mtls'),
    pod('client', { node: 'node1' }),
    echo('near', { node: 'node1', env: { VERSION: ANSWER } }),
    echo('far', { node: 'node2', env: { VERSION: ANSWER } }),
    echo('twin', { node: 'node2', labels: { app: 'far' } }).split('---\n').slice(0, 2).join('---\n'),
    echo('open', { node: 'node2', namespace: 'outside', env: { VERSION: ANSWER } }),
    pod('stranger', { node: 'node1', namespace: 'outside' }),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'mtls topology', text: topology }] });
  await applied(lab, STRICT);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

async function ask(url: string, from = 'client'): Promise<Outcome> {
  return lab.exec(from, ['curl', '-sS', '-m', '10', '-H', `x-secret: ${QUESTION}`, '-d', QUESTION, url]);
}

async function log(node: string): Promise<string> {
  return readFileSync((await lab.agent(node).status()).logPath, 'utf8');
}

async function netnsOf(name: string): Promise<string> {
  return (await lab.pod(name)).place.netnsPath;
}

describe('between the nodes', () => {
  it('nobody can read what pods say to each other, and all of it passes port 15008', async () => {
    const [client, servers] = [await lab.pod('client'), [await lab.pod('far'), await lab.pod('twin')]];
    using capture = await PacketCapture.start(FABRIC);
    for (let round = 0; round < 10; round += 1) {
      const { stdout } = await ask('http://far:8080/');
      expect(JSON.parse(stdout)).toMatchObject({ body: QUESTION, headers: { 'x-secret': QUESTION } });
    }
    expect((await ask('http://far:8080/')).stdout).toContain('"version":');
    await capture.stop();
    expect(capture.bytes.includes(QUESTION)).toBe(false);
    expect(capture.bytes.includes(ANSWER)).toBe(false);
    const addresses = (one: typeof client): string[] => [one.address.ipv4, one.address.ipv6];
    const between = (await capture.segments()).filter(({ from, to }) => [from, to].some((end) => addresses(client).includes(hostOf(end))));
    expect(between.length).toBeGreaterThan(20);
    for (const { from, to } of between) {
      const [ours, theirs] = addresses(client).includes(hostOf(from)) ? [from, to] : [to, from];
      expect(servers.flatMap(addresses)).toContain(hostOf(theirs));
      expect([portOf(ours), portOf(theirs)]).toContain('15008');
    }
  });

  it('the same capture does see what is said to a pod that is not enrolled', async () => {
    using capture = await PacketCapture.start(FABRIC);
    expect(JSON.parse((await ask('http://open.outside:8080/')).stdout)).toMatchObject({ body: QUESTION });
    await capture.stop();
    expect(capture.bytes.includes(QUESTION)).toBe(true);
    expect(capture.bytes.toString('latin1')).toContain(ANSWER);
  });

  it('metrics name both ends on both sides', async () => {
    const labels = { response_code: '200', source_principal: identityOf('client'), connection_security_policy: 'mutual_tls' };
    const before = await scrapeAll(lab);
    await ask('http://far:8080/');
    const after = await scrapeAll(lab);
    for (const principal of ['far', 'twin']) expect(total(after, 'istio_requests_total', { ...labels, reporter: 'destination', destination_principal: identityOf(principal) })).toBeGreaterThan(0);
    expect(grown(before, after, { ...labels, reporter: 'destination' })).toBe(1);

  });
});

describe('within a node', () => {
  it('spends no TLS, and still everybody is who they are', async () => {
    using atClient = await PacketCapture.start(await netnsOf('client'));
    using atServer = await PacketCapture.start(await netnsOf('near'), 'tcp port 15008');
    const before = await scrapeAll(lab);
    for (let round = 0; round < 5; round += 1) expect(JSON.parse((await ask('http://near:8080/')).stdout)).toMatchObject({ body: QUESTION, version: ANSWER });
    const after = await scrapeAll(lab);
    for (const capture of [atClient, atServer]) await capture.stop();
    expect(await atServer.segments()).toEqual([]);
    // Nothing leaves the client's own namespace but names being looked up: its application talks to the agent's listener in it.
    const { address } = await lab.pod('near');
    const segments = await atClient.segments();
    expect(segments.map(({ to }) => portOf(to))).toContain('15001');
    for (const { from, to } of segments) {
      expect([portOf(from), portOf(to)]).not.toContain('15008');
      expect([hostOf(from), hostOf(to)]).not.toContain(address.ipv4);
      expect([hostOf(from), hostOf(to)]).not.toContain(address.ipv6);
    }
    const labels = { reporter: 'destination', source_principal: identityOf('client'), destination_principal: identityOf('near'), connection_security_policy: 'mutual_tls', response_code: '200' };
    expect(grown(before, after, labels)).toBe(5);
  });
});

describe('a pod that is not enrolled', () => {
  it.each([['its own node', 'near', 'node1'], ['another node', 'far', 'node2']])('is refused on %s: its connection is reset, and one line says what to do', async (_where, server, node) => {
    const before = (await log(node)).length;
    const { address } = await lab.pod(server);
    // One after the other within the second for which a line stands.
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const { code, stderr } = await ask(`http://${address.ipv4}:8080/`, 'stranger');
      expect(code, stderr).toBeOneOf(RESET);
    }
    const { address: { ipv4 } } = await lab.pod('stranger');
    await expect.poll(async () => linesOf((await log(node)).slice(before)).filter(({ client }) => client === ipv4 || client === `::ffff:${ipv4}`)).toEqual([
      expect.objectContaining({
        level: 40, workload: `${NAMESPACE}/${server}`, port: 8080, reason: expect.stringMatching(/PeerAuthentication istio-system\/default.* is STRICT for port 8080/) as unknown,
        msg: expect.stringMatching(/^plaintext refused: enrol the client/) as unknown,
      }),
    ]);
  });

  it('is refused as well when it calls by the name of the Service', async () => {
    for (const server of ['near', 'far']) expect((await ask(`http://${server}.${NAMESPACE}:8080/`, 'stranger')).code).toBeOneOf(RESET);
  });
});

describe('when an end goes away', () => {
  interface Load {
    readonly statuses: Readonly<Record<string, number>>;
    readonly errors: Readonly<Record<string, number>>;
  }

  /** Requests one after the other for as long as `during` takes; no request may last longer than 10 s. */
  async function underLoad(during: () => Promise<void>): Promise<Load> {
    const flag = `${lab.paths.podScratch(NAMESPACE, 'client')}/go`;
    writeFileSync(flag, '');
    const script = `
      const { existsSync } = require('node:fs');
      const counts = { statuses: {}, errors: {} };
      const count = (what, key) => { counts[what][key] = (counts[what][key] ?? 0) + 1; };
      const ask = async () => {
        try {
          const response = await fetch('http://far:8080/', { signal: AbortSignal.timeout(10_000) });
          await response.text();
          count('statuses', response.status);
        } catch (error) { count('errors', error.cause?.code ?? error.name); }
      };
      const worker = async () => { while (existsSync(${JSON.stringify(flag)})) { await ask(); await new Promise((resolve) => setTimeout(resolve, 10)); } };
      Promise.all(Array.from({ length: 8 }, worker)).then(() => console.log(JSON.stringify(counts)));
    `;
    const load = lab.exec('client', ['node', '-e', script]);
    await sleep(1000);
    await during();
    rmSync(flag);
    const { stdout, stderr, code } = await load;
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout) as Load;
  }

  it('tunnels to a pod that is deleted end at once, what was in them is not waited for, and the others are used', async () => {
    const twin = await lab.pod('twin');
    const tunnels = async (): Promise<string> => (await lab.exec('client', ['ss', '-tnH', 'state', 'established', 'dst', `[${twin.address.ipv6}]:15008`, 'or', 'dst', `${twin.address.ipv4}:15008`])).stdout;
    const restore = async (): Promise<void> => {
      await lab.exec('twin', ['nft', 'delete', 'table', 'inet', 'gone']);
      for (const [path, content] of kept) writeFileSync(path, content);
      await agentsUpToDate(lab);
    };
    const config = lab.paths.config;
    const kept = [`pod.${NAMESPACE}.twin.yaml`, `endpointslice.${NAMESPACE}.far-ipv4.yaml`, `endpointslice.${NAMESPACE}.far-ipv6.yaml`].map((name) => [join(config, name), readFileSync(join(config, name), 'utf8')] as const);
    try {
      const counts = await underLoad(async () => {
        expect(await tunnels()).not.toBe('');
        // It vanishes without a word to anybody: requests to it hang.
        await lab.exec('twin', ['nft', 'add table inet gone { chain in { type filter hook prerouting priority -400; drop; }; chain out { type filter hook postrouting priority 400; drop; }; }']);
        expect((await lab.exec('twin', ['nft', 'list', 'tables'])).stdout).toContain('inet gone');
        await sleep(500);
        for (const [path, content] of kept) if (path.includes('endpointslice')) writeFileSync(path, withoutEndpoint(content, 'twin'));
        rmSync(join(config, `pod.${NAMESPACE}.twin.yaml`));
        await agentsUpToDate(lab);
        expect(await tunnels()).toBe('');
        await sleep(2000);
      });
      expect(counts.errors).toEqual({});
      const answered = counts.statuses['200'] ?? 0;
      expect(answered).toBeGreaterThan(100);
      // No more than were under way when it was deleted; each has its own worker of the client.
      expect(Object.entries(counts.statuses).filter(([status]) => status !== '200').reduce((sum, [, count]) => sum + count, 0)).toBeLessThanOrEqual(8);
    } finally {
      await restore();
    }
  });

  it.each(['kill', 'restart'] as const)('tunnels are made again after the server\'s agent was told to %s, and nothing hangs', async (action) => {
    const counts = await underLoad(async () => {
      const { restarts } = await lab.agent('node2').status();
      await lab.agent('node2').act(action);
      if (action === 'kill') await lab.until(({ nodes }) => nodes.some(({ name, agent }) => name === 'node2' && agent.restarts > restarts), { what: 'the agent of node2 started again' });
      await agentsReady(lab);
      await sleep(1000);
    });
    expect(counts.errors, await log('node1') + await log('node2')).not.toHaveProperty('TimeoutError');
    const after = await underLoad(() => sleep(500));
    expect(after).toEqual({ statuses: { 200: expect.any(Number) as number }, errors: {} });
  });

  it('the client\'s agent is killed: its tunnels are made again, and nothing hangs', async () => {
    const counts = await underLoad(async () => {
      const { restarts } = await lab.agent('node1').status();
      await lab.agent('node1').act('kill');
      await lab.until(({ nodes }) => nodes.some(({ name, agent }) => name === 'node1' && agent.restarts > restarts), { what: 'the agent of node1 started again' });
      await agentsReady(lab);
      await sleep(1000);
    });
    expect(counts.errors, await log('node1') + await log('node2')).not.toHaveProperty('TimeoutError');
    const after = await underLoad(() => sleep(500));
    expect(after).toEqual({ statuses: { 200: expect.any(Number) as number }, errors: {} });
  });
});

function grown(before: readonly Series[], after: readonly Series[], labels: Record<string, string>): number {
  return total(after, 'istio_requests_total', labels) - total(before, 'istio_requests_total', labels);
}

function hostOf(end: string): string {
  return end.slice(0, end.lastIndexOf('.'));
}

function portOf(end: string): string {
  return end.slice(end.lastIndexOf('.') + 1);
}

function linesOf(text: string): Record<string, unknown>[] {
  return text.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** An EndpointSlice's text without the endpoint of a pod. */
function withoutEndpoint(yaml: string, name: string): string {
  const [head = '', ...endpoints] = yaml.split(/^(?= {2}- addresses:)/m);
  const [last = '', tail = ''] = (endpoints.at(-1) ?? '').split(/^(?=\S)/m);
  return head + [...endpoints.slice(0, -1), last].filter((endpoint) => !endpoint.includes(`name: ${name}`)).join('') + tail;
}
