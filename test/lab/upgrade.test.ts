/** Agents are replaced under load, between two nodes and on one: nothing is refused, and nothing that is open is cut. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate } from '../../src/lab/mesh-view.ts';
import type { LoadReport } from './steady-load.ts';
import { echoService, join, labOf, shell } from './topology.ts';

const CHECKOUT = joinPath(import.meta.dirname, '../..');

function tcpEcho(name: string, node: string): string {
  return join([
    { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' }, spec: { selector: { app: name }, ports: [{ name: 'tcp', port: 9000 }] } },
    { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', labels: { app: name } }, spec: { nodeName: node, containers: [{ name: 'main', command: ['node', 'lab/apps/tcp-echo.ts'], ports: [{ name: 'tcp', containerPort: 9000 }], readinessProbe: { tcpSocket: { port: 'tcp' } } }] } },
  ]);
}

for (const redirect of ['ebpf', 'iptables'] as const) {
  describe(`an upgrade of agents that capture by ${redirect}`, { timeout: 300_000 }, () => {
    const nodes = [`up${redirect}1`, `up${redirect}2`] as const;
    let directory: string;
    let lab: Lab;
    const ends: (() => void)[] = [];

    beforeAll(async () => {
      directory = mkdtempSync(joinPath(tmpdir(), 'orlop-upgrade-'));
      const topology = [
        labOf(`up${redirect}`, nodes),
        echoService('near', [{ version: 'v1', node: nodes[0] }]),
        echoService('far', [{ version: 'v1', node: nodes[1] }]),
        tcpEcho('near-tcp', nodes[0]),
        tcpEcho('far-tcp', nodes[1]),
        shell('client', { app: 'client' }, nodes[0]),
      ].join('');
      lab = await Lab.up([], { sources: [{ file: 'upgrade topology', text: topology }], redirect });
      await agentsUpToDate(lab);
    }, 120_000);

    afterAll(async () => {
      for (const end of ends) end();
      await lab?.down();
      rmSync(directory, { recursive: true });
    });

    async function underLoad(meanwhile: () => Promise<void>): Promise<LoadReport> {
      const flag = joinPath(directory, 'flag');
      writeFileSync(flag, '');
      const urls = ['near', 'far'].flatMap((name) => [`http://${name}:8080/`, `http://${name}:8080/`, `http://${name}:8080/?drip=2500`]);
      const load = lab.exec('client', ['node', joinPath(CHECKOUT, 'test/lab/steady-load.ts'), flag, '8', ...urls, '--session', 'near-tcp:9000', '--session', 'far-tcp:9000']);
      try {
        await expect.poll(() => existsSync(`${flag}.begun`), { timeout: 60_000 }).toBe(true);
        await meanwhile();
        await sleep(1_000);
      } finally {
        rmSync(flag);
        rmSync(`${flag}.begun`, { force: true });
      }
      const { code, stdout, stderr } = await load;
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout) as LoadReport;
    }

    function expectWhole({ requests, statuses, exchanges, failures, slowestMs }: LoadReport, what: string): void {
      process.stdout.write(`${redirect}, ${what}: ${requests} requests, ${exchanges} exchanges on open connections, ${failures.length} failed; slowest request ${slowestMs} ms\n`);
      expect(failures).toEqual([]);
      expect(statuses).toEqual({ 200: requests });
      expect(exchanges).toBeGreaterThan(0);
    }

    async function logOf(node: string): Promise<string> {
      return readFileSync((await lab.agent(node).status()).logPath, 'utf8');
    }

    async function die(node: string, ...stage: readonly string[]): Promise<void> {
      const { netnsPath, agent } = await lab.node(node);
      const keeperPath = joinPath(agent.runDirectory, `keepers/dies-${ends.length}.sock`);
      const keeper = spawn('nsenter', [`--net=${netnsPath}`, joinPath(CHECKOUT, 'keeper/orlop-keeper'), keeperPath], { stdio: 'ignore' });
      ends.push(() => keeper.kill());
      await expect.poll(() => existsSync(keeperPath)).toBe(true);
      const argv = [`--net=${netnsPath}`, joinPath(CHECKOUT, 'node_modules/.bin/node'), joinPath(CHECKOUT, 'test/lab/dying-successor.ts'), joinPath(agent.runDirectory, 'hand-over.sock'), keeperPath, ...stage];
      const { stdout, stderr } = await runCommand('nsenter', argv);
      expect(Number(stdout), stderr).toBeGreaterThan(0);
    }

    it('cuts nothing, on the client\'s node and the server\'s, one after the other and again', async () => {
      expectWhole(await underLoad(async () => {
        for (const node of [...nodes, nodes[0]]) await lab.agent(node).act('upgrade');
      }), 'three upgrades');
      expect(await logOf(nodes[0])).toContain('"msg":"taken over"');
    });

    it('leaves the sockets of the node to those who serve it', async () => {
      for (const node of nodes) {
        const { runDirectory } = (await lab.node(node)).agent;
        await expect.poll(async () => (await logOf(node)).match(/"msg":"ended"/g)?.length ?? 0, { timeout: 30_000 }).toBeGreaterThan(0);
        for (const name of ['admin.sock', 'hand-over.sock', 'workload/workload.sock']) expect(existsSync(joinPath(runDirectory, name)), name).toBe(true);
      }
    });

    it('cuts nothing when the next agent dies before it serves, and can be made again', async () => {
      expectWhole(await underLoad(async () => {
        await die(nodes[0]);
        await expect.poll(async () => logOf(nodes[0])).toContain('"stage":"held","msg":"the next agent is gone; this one serves on"');
        await lab.agent(nodes[0]).act('upgrade');
      }), 'one that dies, and one that does not');
    });

    it('is taken back when the next agent dies while it serves: what was open stays so, and who came to the next one is served by the one before', async () => {
      expectWhole(await underLoad(async () => {
        await die(nodes[0], 'serving');
        await expect.poll(async () => logOf(nodes[0])).toContain('"stage":"let go","msg":"the next agent is gone; this one serves on"');
        await lab.until(({ nodes: all }) => all.every(({ agent }) => agent.ready), { what: 'agents ready again' });
        await sleep(500);
      }), 'one that dies while it serves');
      expectWhole(await underLoad(async () => sleep(500)), 'after that');
    });

    it('is not needed for the next one to come back when it is killed while the one before finishes its connections', async () => {
      const { failures, requests } = await underLoad(async () => {
        // Downloads and sessions that were open before keep the one before alive.
        await lab.agent(nodes[0]).act('upgrade');
        await lab.agent(nodes[0]).act('kill');
        await lab.until(({ nodes: all }) => all.every(({ agent }) => agent.ready), { what: 'agents ready again' });
      });
      process.stdout.write(`${redirect}, one that is killed while the one before drains: ${failures.length} of ${requests} failed\n`);
      expect(failures.filter((failure) => failure.includes('session') || failure.includes('ECONNREFUSED'))).toEqual([]);
      // Those that were under way in it: of eight that ask at a time.
      expect(failures.length).toBeLessThanOrEqual(8);
      expectWhole(await underLoad(async () => sleep(500)), 'after that');
    });

    it('goes through when the one that serves is killed in the middle: the next one serves with what it has got', async () => {
      const { pid } = await lab.agent(nodes[0]).status();
      const told = (await logOf(nodes[0])).length;
      const upgraded = lab.agent(nodes[0]).act('upgrade');
      await expect.poll(async () => (await logOf(nodes[0])).slice(told), { timeout: 20_000, interval: 5 }).toContain('"msg":"the next agent of this node prepares to take over"');
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await upgraded;
      expectWhole(await underLoad(async () => sleep(500)), 'after the one that served was killed');
    });
  });
}
