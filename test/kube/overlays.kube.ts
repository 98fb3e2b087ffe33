/** The overlays of deploy/, put together as `orlop install -k` does it: each changes what it is for, and nothing else. No cluster is needed, but kubectl is. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { agentCommand } from '../../src/cli/agent.ts';
import { changesOf } from '../../src/install/changes.ts';
import { readKustomization } from '../../src/install/kustomization.ts';
import { nameOf, sameObject } from '../../src/install/manifest.ts';
import type { Manifest } from '../../src/install/manifest.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const AGENT = 'DaemonSet orlop-system/orlop-agent';
const CONTROL = 'Deployment orlop-system/orlop-control';

interface PodTemplate {
  readonly metadata: { readonly labels: Readonly<Record<string, string>>; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: readonly { readonly ports?: readonly { readonly name: string; readonly containerPort: number }[] }[] };
}

interface PodMonitorSpec {
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly podMetricsEndpoints: readonly { readonly port?: string; readonly path: string; readonly relabelings?: readonly Relabeling[] }[];
}

interface Relabeling {
  readonly sourceLabels: readonly string[];
  readonly regex: string;
  readonly replacement: string;
  readonly targetLabel: string;
}

let base: readonly Manifest[];

beforeAll(async () => {
  const home = execFileSync(join(CHECKOUT, 'scripts/kube.sh'), { encoding: 'utf8' }).trim();
  vi.stubEnv('PATH', `${home}/bin:${process.env['PATH'] ?? ''}`);
  base = await readKustomization({});
});

afterAll(() => {
  vi.unstubAllEnvs();
});

/** What is in the overlay alone, and `OBJECT FIELD=VALUE` of what it says otherwise. */
async function overlay(name: string): Promise<{ added: Manifest[]; changed: string[] }> {
  const objects = await readKustomization({ directory: join(CHECKOUT, 'deploy/overlays', name) });
  const changed = base.flatMap((before) => changesOf(before, objects.find((one) => sameObject(one, before)) as Manifest).map(({ field, after }) => `${nameOf(before)} ${field}=${after ?? ''}`));
  return { added: objects.filter((one) => !base.some((other) => sameObject(one, other))), changed };
}

/** Of the base. */
function templateOf(name: string): PodTemplate {
  return (base.find((one) => nameOf(one) === name)?.['spec'] as { template: PodTemplate } | undefined)?.template as PodTemplate;
}

it('iptables has every agent capture by iptables', async () => {
  const { added, changed } = await overlay('iptables');
  expect(added).toEqual([]);
  expect(changed).toEqual([expect.stringMatching(`^${AGENT} spec\\.template\\.spec\\.containers\\[0\\]\\.args\\[\\d+\\]="--redirect=iptables"$`)]);
  expect(agentCommand().options.find(({ long }) => long === '--redirect')?.argChoices).toContain('iptables');
});

it('node-taint has agents take a taint away, which they may, and control planes not wait for that', async () => {
  const { added, changed } = await overlay('node-taint');
  expect(added.map(nameOf)).toEqual(expect.arrayContaining(['ClusterRole orlop-node-taint', 'ClusterRoleBinding orlop-agent-node-taint']));
  expect(changed.sort()).toEqual([
    expect.stringMatching(`^${AGENT} spec\\.template\\.spec\\.containers\\[0\\]\\.args\\[\\d+\\]="--remove-taint=orlop\\.io/agent-not-ready"$`),
    expect.stringContaining(`${CONTROL} spec.template.spec.tolerations=[{"key":"orlop.io/agent-not-ready"`),
  ]);
});

it('prometheus-operator has its Prometheus scrape control planes and agents where their annotations say', async () => {
  const { added, changed } = await overlay('prometheus-operator');
  expect(changed).toEqual([]);
  expect(added.map(nameOf)).toEqual(['PodMonitor orlop-system/orlop-agent', 'PodMonitor orlop-system/orlop-control']);
  const [agents, controls] = added.map(({ spec }) => spec as PodMonitorSpec);
  for (const [monitor, workload] of [[agents, AGENT], [controls, CONTROL]] as const) {
    const [endpoint] = monitor?.podMetricsEndpoints ?? [];
    const { metadata: { labels, annotations }, spec: { containers: [container] } } = templateOf(workload);
    expect(labels).toMatchObject(monitor?.selector.matchLabels ?? {});
    expect(endpoint?.path).toBe(annotations['prometheus.io/path']);
    const port = container?.ports?.find(({ name }) => name === endpoint?.port)?.containerPort;
    const addressOf = (ip: string): string => (port === undefined ? relabeled(ip, endpoint?.relabelings ?? []) : `${ip}:${port}`);
    expect(addressOf('192.0.2.1')).toBe(`192.0.2.1:${annotations['prometheus.io/port'] ?? ''}`);
  }
  expect(relabeled('2001:db8::1', agents?.podMetricsEndpoints[0]?.relabelings ?? [])).toBe('[2001:db8::1]:15020');
});

/** The `__address__` that Prometheus makes of a pod's address: its expressions are for the whole of it. */
function relabeled(ip: string, relabelings: readonly Relabeling[]): string {
  let address = '';
  for (const { sourceLabels, regex, replacement, targetLabel } of relabelings) {
    expect([sourceLabels, targetLabel]).toEqual([['__meta_kubernetes_pod_ip'], '__address__']);
    const found = new RegExp(`^(?:${regex})$`).exec(ip);
    if (found !== null) address = replacement.replace('$1', found[1] ?? '');
  }
  return address;
}
