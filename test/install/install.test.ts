/** An installation, its upgrade, and what asking for that upgrade first (`--dry-run`) says and does not do. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { outcomeText } from '../../src/install/apply.ts';
import type { Outcome } from '../../src/install/apply.ts';
import { ClusterObjects } from '../../src/install/cluster-objects.ts';
import { install } from '../../src/install/install.ts';
import type { Manifest } from '../../src/install/manifest.ts';
import { readRecord } from '../../src/install/record.ts';
import { ApiServer } from '../kube-api/api-server.ts';
import type { Unstored } from '../kube-api/api-server.ts';

const NAMESPACE = 'orlop-system';
const KINDS: Readonly<Record<string, object>> = {
  '/api/v1': { resources: [{ name: 'configmaps', kind: 'ConfigMap', namespaced: true }, { name: 'namespaces', kind: 'Namespace', namespaced: false }] },
  '/apis/apps/v1': { resources: [{ name: 'daemonsets', kind: 'DaemonSet', namespaced: true }] },
};

const labels = { 'app.kubernetes.io/part-of': 'orlop' };
const namespace: Manifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } };
const settings: Manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace: NAMESPACE, labels }, data: {} };
const agents = (image: string): Manifest => ({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'orlop-agent', namespace: NAMESPACE, labels }, spec: { image } });
const FIRST = [namespace, settings, agents('orlop:1')];
const NEXT = [namespace, agents('orlop:2')];

let server: ApiServer;
let objects: ClusterObjects;

beforeEach(async () => {
  server = new ApiServer();
  server.intercept = ({ method, url = '' }, body) => {
    const { pathname, searchParams } = new URL(url, 'http://api');
    if (method !== 'PATCH') return KINDS[pathname] && { status: 200, body: KINDS[pathname] };
    // Server-side apply, as far as nobody else has a hand in the objects.
    if (searchParams.get('dryRun') !== 'All') server.put(JSON.parse(body) as Unstored);
    return { status: 200, body: JSON.parse(body) as unknown };
  };
  await server.start();
  objects = new ClusterObjects(server.client());
  await bring(FIRST);
});

afterEach(async () => {
  objects.client.close();
  await server.stop();
});

/** With their versions: an object that was written again is another. */
function everything(): unknown[] {
  return ['Namespace', 'ConfigMap', 'DaemonSet'].flatMap((kind) => server.all(kind));
}

async function bring(manifests: readonly Manifest[], dryRun = false): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await install(objects, { manifests, definitions: [], rollout: undefined, dryRun, onOutcome: (outcome) => outcomes.push(outcome) });
  return outcomes;
}

const UPGRADE = [`Namespace ${NAMESPACE} unchanged`, `DaemonSet ${NAMESPACE}/orlop-agent configured`, `ConfigMap ${NAMESPACE}/settings removed`];

it('an upgrade changes what is different, removes what is no longer there, and remembers what was before', async () => {
  expect((await bring(NEXT)).map(outcomeText)).toEqual(UPGRADE);
  expect(await objects.get(agents(''))).toMatchObject({ spec: { image: 'orlop:2' } });
  expect(await objects.get(settings)).toBeUndefined();
  expect(await readRecord(objects, NAMESPACE)).toEqual({ current: NEXT, previous: FIRST });
});

it('asked for, it says the same field by field, and changes nothing: neither objects nor what an upgrade could go back to', async () => {
  const before = everything();
  const outcomes = await bring(NEXT, true);
  expect(outcomes.map(outcomeText)).toEqual(UPGRADE);
  expect(outcomes[1]?.changes).toEqual([{ field: 'spec.image', before: '"orlop:1"', after: '"orlop:2"' }]);
  expect(everything()).toEqual(before);
  expect(await readRecord(objects, NAMESPACE)).toEqual({ current: FIRST, previous: [] });
});

it('doing the same again changes nothing, and leaves it what to go back to', async () => {
  await bring(NEXT);
  expect((await bring(NEXT)).map(({ action }) => action)).toEqual(['unchanged', 'unchanged']);
  expect(await readRecord(objects, NAMESPACE)).toEqual({ current: NEXT, previous: FIRST });
});
