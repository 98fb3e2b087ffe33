/**
 * Pods come, join the mesh while they run, leave it and go, while clients on both nodes ask through their Service: no request fails that would not
 * have failed without a mesh. CHURN_PODS and CHURN_SECONDS make it larger (50 and 300 by hand).
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cluster } from './cluster/cluster.ts';
import { deployOrlop, loadOrlop } from './orlop.ts';
import { Churn } from './traffic/churn.ts';
import { PATIENT_SERVER } from './traffic/patient-server.ts';
import { NO_ANSWER } from './traffic/request-loop.ts';
import { programPod, tell, Traffic } from './traffic/traffic.ts';
import type { Passed } from './traffic/traffic.ts';

const PODS = Number(process.env['CHURN_PODS'] ?? 8);
const SECONDS = Number(process.env['CHURN_SECONDS'] ?? 30);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.up({ name: 'churn', nodes: 2 });
  await loadOrlop(cluster);
  await deployOrlop(cluster);
}, 600_000);

afterAll(async () => {
  await cluster.down();
}, 60_000);

async function churn(mesh: boolean): Promise<Passed> {
  const namespace = mesh ? 'with' : 'without';
  // Clients and lasting servers take part; of the others each says so itself.
  const annotations = { 'orlop.io/mesh': mesh ? 'enabled' : 'disabled' };
  await cluster.apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace }, spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] } },
    ...cluster.nodes.map(({ name }, i) => programPod(`lasting-${i + 1}`, namespace, { argv: [PATIENT_SERVER, '8080'], nodeName: name, labels: { app: 'web' }, annotations, port: 8080 })),
  ]);
  await cluster.kubectl(['wait', '--for=condition=Ready', 'pod', '-n', namespace, '-l', 'app=web', '--timeout=120s']);
  const traffic = await Traffic.start(cluster, namespace, ['http://web/'], annotations);
  const churning = new Churn(cluster, { namespace, app: 'web', pods: PODS, forMs: SECONDS * 1000, mesh });
  await churning.fill();
  const passed = await traffic.during(async () => churning.run());
  process.stdout.write(`${tell(`${PODS} pods churned for ${SECONDS} s ${namespace} a mesh (${JSON.stringify(churning.done)})`, passed)}\n`);
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  return passed;
}

it('no request fails that would not have failed without a mesh', async () => {
  const outside = await churn(false);
  const inside = await churn(true);
  expect(inside.requests).toBeGreaterThan(0);
  expect(inside.failures.filter(({ reason }) => reason.includes(NO_ANSWER))).toEqual([]);
  // Without a mesh some fail too, as Endpoints are a moment behind: few, and by chance. Three standard deviations more are no chance.
  expect(inside.failed).toBeLessThanOrEqual(outside.failed + 3 * Math.sqrt(outside.failed + 1));
}, 240_000 + 3 * SECONDS * 1000);
