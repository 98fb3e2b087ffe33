/** What becomes of traffic when an agent, a worker or a configuration goes wrong, and which servers are carried besides HTTP. */
import { readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrapeAll, total } from '../../src/lab/mesh-view.ts';
import { echoService, labOf, shell } from './topology.ts';

/** New connections for some three enrolments. */
const REENROLMENT_REQUESTS = 10_000;
/** Some seconds of them. */
const KILLED_REQUESTS = 3_000;
/** Of the load tool. */
const CLIENTS = 4;
const LAB = joinPath(import.meta.dirname, '../../lab');

interface Counts {
  readonly requests: number;
  readonly statuses: Record<string, number>;
  readonly versions: Record<string, number>;
  readonly errors: Record<string, number>;
}

for (const redirect of ['ebpf', 'iptables'] as const) {
  describe(`a lab captured by ${redirect}`, () => {
    let lab: Lab;

    beforeAll(async () => {
      const topology = [
        labOf(`life${redirect}`, [`${redirect}1`, `${redirect}2`]),
        echoService('near', [{ version: 'v1', node: `${redirect}1` }]),
        echoService('far', [{ version: 'v1', node: `${redirect}2` }]),
        shell('client', { app: 'client' }, `${redirect}1`),
        shell('outsider', { app: 'outsider' }, `${redirect}1`, { 'orlop.io/mesh': 'disabled' }),
      ].join('');
      lab = await Lab.up([], { sources: [{ file: 'life topology', text: topology }], redirect });
      await agentsUpToDate(lab);
    }, 120_000);

    afterAll(async () => {
      await lab?.down();
    });

    async function load(url: string, requests: number, ...more: readonly string[]): Promise<Counts> {
      const { stdout, stderr, code } = await lab.exec('client', ['node', 'lab/apps/load.ts', url, '-n', String(requests), '-c', String(CLIENTS), '--json', ...more]);
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout) as Counts;
    }

    async function body(from: string, url: string): Promise<{ client: { address: string } }> {
      const { stdout } = await lab.exec(from, ['curl', '-sg', '-m', '10', url]);
      return JSON.parse(stdout) as { client: { address: string } };
    }

    it('shows the server the client\'s own address, on the same node and from another, in both families', async () => {
      const { address } = await lab.pod('client');
      for (const service of ['near', 'far']) {
        const { address: server } = await lab.pod(`${service}-v1`);
        expect((await body('client', `http://${service}:8080/`)).client.address).toBe(address.ipv4);
        expect((await body('client', `http://[${server.ipv6}]:8080/`)).client.address).toBe(address.ipv6);
      }
    });

    it.each(['-4', '-6'])('lets a pod reach itself through its own Service (%s)', async (family) => {
      const { stdout, stderr, code } = await lab.exec('near-v1', ['curl', '-sS', family, '-m', '5', 'http://near:8080/']);
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ version: 'v1' });
    });

    it('counts one request once on each side', async () => {
      const before = await scrapeAll(lab);
      await load('http://near:8080/', 25);
      const after = await scrapeAll(lab);
      for (const reporter of ['source', 'destination']) {
        const labels = { reporter, source_workload: 'client', destination_workload: 'near-v1', destination_service: 'near.default.svc.cluster.local', response_code: '200' };
        expect(total(after, 'istio_requests_total', labels) - total(before, 'istio_requests_total', labels)).toBe(25);
      }
    });

    it('leaves a pod that is not enrolled alone, and lets it call those that are', async () => {
      const { address } = await lab.pod('outsider');
      expect([address.ipv4, address.ipv6]).toContain((await body('outsider', 'http://far:8080/')).client.address);
      const outside = total(await scrapeAll(lab), 'istio_requests_total', { reporter: 'source', source_workload: 'outsider' });
      expect(outside).toBe(0);
    });

    it('enrols and releases a running pod by its annotation', async () => {
      const counted = async (): Promise<number> => total(await scrapeAll(lab), 'istio_requests_total', { reporter: 'source', source_workload: 'outsider' });
      const annotate = async (mesh: string): Promise<void> => {
        await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'outsider', annotations: { 'orlop.io/mesh': mesh } } }));
        await agentsUpToDate(lab);
      };
      await annotate('enabled');
      await expect.poll(async () => {
        await body('outsider', 'http://far:8080/');
        return counted();
      }, { timeout: 5000 }).toBeGreaterThan(0);
      const before = await counted();
      await annotate('disabled');
      await sleep(300);
      await body('outsider', 'http://far:8080/');
      expect(await counted()).toBe(before);
    });

    it('refuses nothing while a client is enrolled anew, again and again', async () => {
      const over = new AbortController();
      const changing = (async () => {
        for (let port = 1; !over.signal.aborted; port += 1) {
          await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'client', annotations: { 'orlop.io/exclude-outbound-ports': String(port) } } }));
          await agentsUpToDate(lab);
          // Longer than the one before is served: what waits on its sockets when they are closed is part of this.
          await sleep(6_500);
        }
      })();
      const { errors, statuses } = await load('http://near:8080/', REENROLMENT_REQUESTS, '--no-keepalive');
      over.abort();
      await changing;
      expect({ errors, statuses }).toEqual({ errors: {}, statuses: { 200: REENROLMENT_REQUESTS } });
    });

    it('keeps serving with the last good objects when the configuration goes wrong, and says what is wrong', async () => {
      const direct = (status: number, field = 'status'): string => JSON.stringify({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'near' }, spec: { hosts: ['near'], http: [{ directResponse: { [field]: status } }] } });
      await lab.apply(direct(418));
      await agentsUpToDate(lab);
      expect((await load('http://near:8080/', 5)).statuses).toEqual({ 418: 5 });
      await lab.apply(direct(204, 'statos'));
      await agentsUpToDate(lab);
      expect((await load('http://near:8080/', 5)).statuses).toEqual({ 418: 5 });
      const { agent } = await lab.node(`${redirect}1`);
      const { stdout } = await runCommand('curl', ['-s', '--unix-socket', `${agent.runDirectory}/admin.sock`, 'http://agent/config/problems']);
      expect(stdout).toMatch(/:\d+: error \[IST0106\] VirtualService default\/near spec\.http\[0\]\.directResponse\.statos: unknown field "statos" → did you mean "status"\?/);
      await lab.delete(direct(418));
      await agentsUpToDate(lab);
      expect((await load('http://near:8080/', 5)).statuses).toEqual({ 200: 5 });
    });

    it('comes back after the agent was killed, without a hand', async () => {
      await lab.agent(`${redirect}1`).act('kill');
      await lab.until(({ nodes }) => nodes.every(({ agent }) => agent.ready), { what: 'agents ready again' });
      await agentsUpToDate(lab);
      expect((await load('http://far:8080/', 20)).statuses).toEqual({ 200: 20 });
      expect((await load('http://near:8080/', 20)).statuses).toEqual({ 200: 20 });
    });

    it('makes those wait who come while a killed agent is away, and refuses none of them', async () => {
      for (const node of [`${redirect}1`, `${redirect}2`]) {
        let isOver = false;
        const loading = load('http://far:8080/', KILLED_REQUESTS, '--no-keepalive').finally(() => (isOver = true));
        await sleep(1_000);
        expect(isOver).toBe(false);
        await lab.agent(node).act('kill');
        const { statuses, errors } = await loading;
        const answered = statuses[200] ?? 0;
        // What was under way ended with the agent: as many as there are clients at most.
        expect({ statuses, errors, answered: answered >= KILLED_REQUESTS - CLIENTS }).toMatchObject({ answered: true });
        await lab.until(({ nodes }) => nodes.every(({ agent }) => agent.ready), { what: 'agents ready again' });
      }
    });

    it('does not wait for idle connections when the agent is asked to end', async () => {
      // A client that keeps its connection open for long after its request.
      const script = 'exec 3<>/dev/tcp/far/8080; printf "GET / HTTP/1.1\\r\\nHost: far\\r\\n\\r\\n" >&3; timeout 20 cat <&3 | tail -c 1 | wc -c';
      const idle = lab.exec('client', ['bash', '-c', script]);
      await sleep(700);
      await lab.agent(`${redirect}1`).act('restart');
      // `cat` ends when the agent closes the connection, with everything that was sent before.
      expect((await idle).stdout.trim()).toBe('1');
      const log = readFileSync((await lab.agent(`${redirect}1`).status()).logPath, 'utf8');
      expect(log).not.toContain('connections were still open');
      await lab.until(({ nodes }) => nodes.every(({ agent }) => agent.ready), { what: 'agents ready again' });
    });

    it('finishes what is under way when the agent is asked to end', async () => {
      const slow = lab.exec('client', ['curl', '-s', '-m', '20', '-o', '/dev/null', '-w', '%{http_code}', 'http://far:8080/?delay=2000']);
      await sleep(700);
      await lab.agent(`${redirect}1`).act('restart');
      expect((await slow).stdout).toBe('200');
      await lab.until(({ nodes }) => nodes.every(({ agent }) => agent.ready), { what: 'agents ready again' });
      expect((await load('http://far:8080/', 10)).statuses).toEqual({ 200: 10 });
    });
  });
}

describe('foreign servers', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.up([joinPath(LAB, 'foreign.yaml')], { name: 'foreigntest' });
    await agentsUpToDate(lab);
  }, 120_000);

  afterAll(async () => {
    await lab?.down();
  });

  it('nginx, redis, and a server that speaks first on a port that nobody declared', async () => {
    const yaml = readFileSync(joinPath(LAB, 'foreign.yaml'), 'utf8');
    expect(yaml).toContain('server-first');
    const nginx = await lab.exec('client', ['curl', '-s', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', 'http://nginx:80/']);
    expect(nginx.stdout).toBe('200');
    const redis = await lab.exec('client', ['redis-cli', '-h', 'redis', 'ping']);
    expect(redis.stdout.trim()).toBe('PONG');
    const greeting = await lab.exec('client', ['bash', '-c', 'exec 3<>/dev/tcp/server-first/2525; head -n 1 <&3']);
    expect(greeting.stdout).toMatch(/^220 /);
    const series = await scrapeAll(lab);
    expect(total(series, 'istio_requests_total', { reporter: 'source', destination_service_name: 'nginx' })).toBe(1);
    expect(total(series, 'istio_tcp_connections_opened_total', { reporter: 'source', destination_service_name: 'redis' })).toBeGreaterThanOrEqual(1);
    expect(total(series, 'istio_tcp_connections_opened_total', { reporter: 'source', destination_service_name: 'server-first' })).toBe(1);
  });
});
