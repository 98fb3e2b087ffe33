/**
 * Runs the Gateway API's own conformance suite against Orlop on a Kubernetes of two nodes, and writes the suite's report.
 *   gateway-conformance.ts [--profiles A,B] [--report FILE] [--log FILE] [--cluster NAME] [-- FLAGS OF THE SUITE]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CONTROLLER_NAME } from '../src/mesh/gateway/resources.ts';
import { Cluster } from '../test/kube/cluster/cluster.ts';
import { writeEchoImages } from '../test/kube/conformance/images.ts';
import { MESH_FEATURES } from '../test/kube/conformance/features.ts';
import { runSuite } from '../test/kube/conformance/suite.ts';
import type { Verdict } from '../test/kube/conformance/verdicts.ts';
import { installOrlop, loadOrlop } from '../test/kube/orlop.ts';

const ROOT = join(import.meta.dirname, '..');
const GATEWAY_CLASS = 'orlop';
const PROFILES = ['GATEWAY-HTTP', 'GATEWAY-GRPC', 'GATEWAY-TLS', 'GATEWAY-TCP', 'MESH-HTTP', 'MESH-GRPC'];

interface Options {
  readonly profiles: readonly string[];
  readonly report: string;
  readonly log: string;
  readonly cluster: string;
  readonly flags: readonly string[];
}

function options(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      profiles: { type: 'string', default: PROFILES.join(',') },
      report: { type: 'string', default: join(ROOT, 'docs/conformance/gateway-api-v1.6.3.yaml') },
      log: { type: 'string', default: join(tmpdir(), 'gateway-conformance.log') },
      cluster: { type: 'string', default: 'conform' },
    },
  });
  return { ...values, profiles: values.profiles.split(','), flags: positionals };
}

async function run({ profiles, report, log, cluster: name, flags }: Options): Promise<boolean> {
  const home = execFileSync(join(ROOT, 'scripts/gateway-conformance.sh'), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  await using cluster = await Cluster.up({ name, nodes: 2, onProgress: say });
  say('images of Orlop and of the suite\'s echo servers');
  await loadOrlop(cluster);
  await loadEchoImages(cluster, home);
  say('Gateway API\'s definitions; Orlop');
  // Some are too large for the annotation that kubectl would keep a copy in.
  await cluster.kubectl(['apply', '--server-side', '-k', `${home}/crds`]);
  await installOrlop(cluster);
  await cluster.apply([{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: GATEWAY_CLASS }, spec: { controllerName: CONTROLLER_NAME } }]);
  const features = [...MESH_FEATURES, ...await gatewayFeatures(cluster, profiles)];
  say(`profiles ${profiles.join(', ')}; everything the suite says is in ${log}`);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const verdicts: Verdict[] = [];
  const passed = await runSuite({
    home, kubeconfig: cluster.kubeconfig, logPath: log,
    flags: [
      `-conformance-profiles=${profiles.join(',')}`, `-supported-features=${features.join(',')}`, `-gateway-class=${GATEWAY_CLASS}`,
      '-namespace-annotations=orlop.io/mesh=enabled', `-report-output=${report}`,
      '-organization=orlop', '-project=orlop', '-url=https://orlop.io', `-version=${version}`, '-contact=https://orlop.io', ...flags,
    ],
    onVerdict: (verdict) => {
      verdicts.push(verdict);
      show(verdict);
    },
  });
  sum(verdicts);
  return passed;
}

/** What the control plane says that its gateways can do: the suite tries just that. */
async function gatewayFeatures(cluster: Cluster, profiles: readonly string[]): Promise<string[]> {
  if (!profiles.some((profile) => profile.startsWith('GATEWAY'))) return [];
  const names = async (): Promise<string[]> => {
    const { stdout } = await cluster.tryKubectl(['get', 'gatewayclass', GATEWAY_CLASS, '-o', 'jsonpath={.status.supportedFeatures[*].name}']);
    return stdout.split(' ').filter((name) => name !== '');
  };
  return cluster.until(`the features of GatewayClass ${GATEWAY_CLASS}`, async () => {
    const found = await names();
    return found.length > 0 && found;
  });
}

async function loadEchoImages(cluster: Cluster, home: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'orlop-conformance-'));
  try {
    for (const path of writeEchoImages(home, directory)) await cluster.loadImage(path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One line for each test; what it expected where it failed. */
function show({ name, result, failures }: Verdict): void {
  if (result === 'skipped') return;
  say(`${result === 'passed' ? '√' : '×'} ${name}`);
  for (const { part, said } of failures) {
    if (part !== '') say(`    ${part}`);
    for (const line of said) say(`      ${line}`);
  }
}

function sum(verdicts: readonly Verdict[]): void {
  const count = (result: Verdict['result']): number => verdicts.filter((verdict) => verdict.result === result).length;
  say(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} of features that are not supported`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

process.exitCode = await run(options()) ? 0 : 1;
