/** What the agents of a lab say of themselves: their metrics as a scraper sees them, and whether they follow the lab's objects. */
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { configDigest } from '../mesh/config-digest.ts';
import { runCommand, sleep } from './command.ts';
import type { Lab } from './lab.ts';
import { LabError } from './lab-error.ts';

const APPLIED_TIMEOUT_MS = 30_000;
const POLL_MS = 20;

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Scrape a node's agent at :15020, from the node's own network namespace. */
export async function scrape(lab: Lab, node: string): Promise<Series[]> {
  const { netnsPath } = await lab.node(node);
  const { code, stdout, stderr } = await runCommand('nsenter', [`--net=${netnsPath}`, 'curl', '-fsS', '-m', '10', 'http://127.0.0.1:15020/metrics']);
  if (code !== 0) throw new LabError(`the metrics of ${node} cannot be read: ${stderr.trim()}`);
  return parseSeries(stdout);
}

/** Scrape every node. */
export async function scrapeAll(lab: Lab): Promise<Series[]> {
  const { nodes } = await lab.status();
  return (await Promise.all(nodes.map(async ({ name }) => scrape(lab, name)))).flat();
}

/** Sum of the series of `name` whose labels are as given. */
export function total(series: readonly Series[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels);
  return series.filter((one) => one.name === name && wanted.every(([key, value]) => one.labels[key] === value)).reduce((sum, { value }) => sum + value, 0);
}

/** Wait until the agents of all nodes have read the configuration that is on disk now. */
export async function agentsUpToDate(lab: Lab): Promise<void> {
  const { nodes, configDirectory } = await lab.status();
  const wanted = directoryDigest(configDirectory);
  const deadline = Date.now() + APPLIED_TIMEOUT_MS;
  for (const { name, agent } of nodes) {
    while (await appliedDigest(join(agent.runDirectory, 'admin.sock')) !== wanted) {
      if (Date.now() > deadline) throw new LabError(`the agent of ${name} has not taken over the configuration within ${APPLIED_TIMEOUT_MS / 1000} s`);
      await sleep(POLL_MS);
    }
  }
}

/** Digest of the files of a configuration directory, as the agent computes it. */
function directoryDigest(directory: string): string {
  const names = readdirSync(directory).filter((name) => /\.(?:ya?ml|json)$/.test(name) && !name.startsWith('.'));
  return configDigest(names.map((name) => ({ name, text: readFileSync(join(directory, name), 'utf8') })));
}

async function appliedDigest(socketPath: string): Promise<string | undefined> {
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      request({ socketPath, path: '/config/digest' }, (response) => {
        text(response).then(resolve, reject);
      }).on('error', reject).end();
    });
    return answer.trim();
  } catch {
    return undefined;
  }
}

/** The lines of the text exposition format; comments are passed over. */
export function parseSeries(exposition: string): Series[] {
  const series: Series[] = [];
  for (const line of exposition.split('\n')) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (found === null) continue;
    const labels: Record<string, string> = {};
    for (const label of (found[2] ?? '').matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) labels[label[1] as string] = label[2] as string;
    series.push({ name: found[1] as string, labels, value: Number(found[3]) });
  }
  return series;
}
