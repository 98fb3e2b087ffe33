/**
 * `orlop demo`: two nodes, bookinfo, and Istio's own YAML applied one after the other, with what each does to live traffic
 * drawn on the terminal. Every line it draws is counted from real answers; a result outside its bounds fails the demo.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { Lab } from '../lab/lab.ts';
import { agentsUpToDate, scrapeAll } from '../lab/mesh-view.ts';
import { bars, Screen } from './demo-screen.ts';
import { near } from './shares.ts';

const ROOT = join(import.meta.dirname, '../..');
const LAB_NAME = 'demo';
const NAMESPACE = 'bookinfo';
const CLIENT = `${NAMESPACE}/client`;
const REVIEWS = 'http://reviews:9080/reviews/0';
const RATINGS = 'http://ratings:9080/ratings/0';

interface Counts {
  readonly requests: number;
  readonly statuses: Record<string, number>;
  readonly versions: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly latencyMs: { readonly p50: number; readonly p99: number };
}

interface Step {
  readonly title: string;
  /** Files of lab/examples put in force, on top of those before. */
  readonly apply: readonly string[];
  readonly url: string;
  readonly requests: number;
  readonly header?: string;
  readonly by: 'versions' | 'statuses';
  readonly expect: string;
  readonly ok: (counts: Counts) => boolean;
}

const STEPS: readonly Step[] = [
  {
    title: 'No rules yet: requests spread over the three versions of reviews',
    apply: [], url: REVIEWS, requests: 150, by: 'versions', expect: 'v1, v2 and v3 all answer',
    ok: ({ versions }) => ['v1', 'v2', 'v3'].every((version) => (versions[version] ?? 0) > 0),
  },
  {
    title: 'DestinationRule + VirtualService: everything to v1',
    apply: ['09-subset-policies.yaml', '01-route-to-subset.yaml'], url: REVIEWS, requests: 100, by: 'versions', expect: 'v1 only',
    ok: ({ versions, requests }) => versions['v1'] === requests,
  },
  {
    title: 'Weights: 75 % to v1, 25 % to v2',
    apply: ['03-split-75-25.yaml'], url: REVIEWS, requests: 400, by: 'versions', expect: 'about 300 : 100',
    ok: ({ versions, requests }) => near(versions['v2'] ?? 0, requests, 0.25) && (versions['v3'] ?? 0) === 0,
  },
  {
    title: 'By header: the user "jason" gets v2',
    apply: ['18-by-user.yaml'], url: REVIEWS, requests: 50, header: 'end-user: jason', by: 'versions', expect: 'v2 only',
    ok: ({ versions, requests }) => versions['v2'] === requests,
  },
  {
    title: 'Fault injection: one request in ten to ratings is answered 400 by the mesh',
    apply: ['ratings-subsets', '07-fault-abort.yaml'], url: RATINGS, requests: 400, by: 'statuses', expect: 'about 40 times 400',
    ok: ({ statuses, requests }) => near(statuses['400'] ?? 0, requests, 0.1),
  },
];

/** Examples 04 to 08 route ratings to a subset that bookinfo's own files do not define. */
const RATINGS_SUBSETS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  subsets: [{name: v1, labels: {version: v1}}]
`;

/** Mutual TLS of everybody, and one service for one caller alone. */
const SECURITY = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details-for-productpage}
spec:
  selector: {matchLabels: {app: details}}
  action: ALLOW
  rules: [{from: [{source: {principals: ["cluster.local/ns/bookinfo/sa/bookinfo-productpage"]}}]}]
`;

/** Who calls whom, and what comes back: a status, or 000 when the connection is reset. */
const CALLS: readonly { readonly from: string; readonly to: string; readonly url: string; readonly expected: string; readonly because: string }[] = [
  { from: CLIENT, to: 'reviews', url: 'http://reviews.bookinfo:9080/reviews/0', expected: '200', because: 'in the mesh' },
  { from: `${NAMESPACE}/productpage-v1`, to: 'details', url: 'http://details.bookinfo:9080/details/0', expected: '200', because: 'the account that the policy names' },
  { from: CLIENT, to: 'details', url: 'http://details.bookinfo:9080/details/0', expected: '403', because: 'another account' },
  { from: 'outside/visitor', to: 'reviews', url: 'http://reviews.bookinfo:9080/reviews/0', expected: '000', because: 'plaintext, reset before a byte is read' },
];

export function demoCommand(): Command {
  return new Command('demo')
    .description('bring up a mesh of two nodes on this machine and show what it does')
    .option('--keep', 'leave it running, and say how to look around')
    .addOption(new Option('--redirect <how>', 'how traffic is captured').choices(['auto', 'iptables', 'ebpf']).default('auto'))
    .action(async (options: { keep?: boolean; redirect: 'auto' | 'iptables' | 'ebpf' }) => {
      process.exitCode = await demo(options.keep === true, options.redirect);
    });
}

async function demo(keep: boolean, redirect: 'auto' | 'iptables' | 'ebpf'): Promise<number> {
  const screen = new Screen(process.stdout);
  screen.title('Orlop demo: two nodes, one agent each, no sidecar');
  const lab = await Lab.up([join(ROOT, 'lab/bookinfo.yaml')], {
    name: LAB_NAME,
    keep,
    redirect,
    onProgress: (progress) => {
      if (progress.event === 'step') screen.quiet(progress.text);
    },
  });
  let failed = 0;
  try {
    await showPods(lab, screen);
    for (const step of STEPS) if (!(await play(lab, step, screen))) failed += 1;
    if (!(await showIdentity(lab, screen))) failed += 1;
    if (!(await showMetrics(lab, screen))) failed += 1;
  } finally {
    if (!keep) {
      screen.quiet('taking it down');
      await lab.down();
    }
  }
  screen.summary(STEPS.length + 2, failed);
  if (keep) screen.lookAround(LAB_NAME);
  return failed === 0 ? 0 : 1;
}

async function showPods(lab: Lab, screen: Screen): Promise<void> {
  const { pods, nodes } = await lab.status();
  for (const node of nodes) {
    const names = pods.filter((pod) => pod.node === node.name).map((pod) => pod.name);
    screen.line(`${node.name}  agent ready, ${names.length} pods: ${names.join(' ')}`);
  }
  const page = await lab.exec(CLIENT, ['curl', '-s', 'http://productpage:9080/productpage']);
  screen.line(`productpage, fetched by a pod that knows nothing of the mesh: ${page.code === 0 ? `${page.stdout.length} bytes` : `failed (${page.stderr.trim()})`}`);
}

async function play(lab: Lab, step: Step, screen: Screen): Promise<boolean> {
  screen.step(step.title);
  for (const file of step.apply) {
    const yaml = file === 'ratings-subsets' ? RATINGS_SUBSETS : readFileSync(join(ROOT, 'lab/examples', file), 'utf8');
    await lab.apply(yaml, { namespace: NAMESPACE, file });
    screen.quiet(file === 'ratings-subsets' ? 'apply a DestinationRule with ratings\' subset v1' : `apply lab/examples/${file}`);
  }
  await agentsUpToDate(lab);
  const counts = await load(lab, step);
  const ok = step.ok(counts) && Object.keys(counts.errors).length === 0;
  for (const line of bars(counts[step.by], counts.requests)) screen.line(line);
  screen.verdict(ok, `${step.expect}; ${counts.requests} requests, p50 ${counts.latencyMs.p50} ms, p99 ${counts.latencyMs.p99} ms`);
  return ok;
}

async function load(lab: Lab, { url, requests, header }: Step): Promise<Counts> {
  const argv = ['node', 'lab/apps/load.ts', url, '-n', String(requests), '-c', '4', '--json'];
  if (header !== undefined) argv.push('-H', header);
  const { stdout, stderr, code } = await lab.exec(CLIENT, argv);
  if (code !== 0) throw new Error(`the load generator failed: ${stderr.trim()}`);
  return JSON.parse(stdout) as Counts;
}

async function showIdentity(lab: Lab, screen: Screen): Promise<boolean> {
  screen.step('Identity: mutual TLS demanded of everybody, details for productpage alone');
  await lab.apply(SECURITY, { namespace: NAMESPACE, file: 'security' });
  screen.quiet('apply a PeerAuthentication (STRICT) and an AuthorizationPolicy');
  await agentsUpToDate(lab);
  let ok = true;
  for (const { from, to, url, expected, because } of CALLS) {
    const { stdout } = await lab.exec(from, ['curl', '-s', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', url]);
    screen.line(`${`${from} → ${to}`.padEnd(40)} ${stdout === '000' ? 'refused' : stdout.padEnd(7)}  ${because}`);
    ok &&= stdout === expected;
  }
  screen.verdict(ok, 'who is who is proved by certificates; between the nodes nothing travels in the clear');
  return ok;
}

async function showMetrics(lab: Lab, screen: Screen): Promise<boolean> {
  screen.step('What the nodes counted (istio_requests_total at :15020/metrics)');
  const edges = new Map<string, number>();
  for (const { name, labels, value } of await scrapeAll(lab)) {
    if (name !== 'istio_requests_total') continue;
    const { reporter = '', source_workload: source = '', destination_workload: destination = '', response_code: code = '' } = labels;
    const edge = `${reporter.padEnd(12)} ${`${source} → ${destination}`.padEnd(36)} ${code}`;
    edges.set(edge, (edges.get(edge) ?? 0) + value);
  }
  for (const [edge, count] of [...edges].sort(([a], [b]) => a.localeCompare(b))) screen.line(`${edge} ${String(count).padStart(6)}`);
  const ok = ['source', 'destination'].every((reporter) => [...edges.keys()].some((edge) => edge.startsWith(reporter)));
  screen.verdict(ok, 'both reporters, with Istio\'s own labels');
  return ok;
}
