/** `orlop install` on a real API server: what is there afterwards, what others have put there, and what a dry run changes. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { Cluster } from './cluster/cluster.ts';
import { orlop } from './command-line.ts';
import type { Said } from './command-line.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const EXAMPLES = join(import.meta.dirname, '../../lab/examples');
const SYSTEM = 'orlop-system';
/** All kinds that can be listed, but those that change by themselves. */
const NO_STATE = new Set(['events', 'events.events.k8s.io', 'leases.coordination.k8s.io', 'endpoints', 'componentstatuses']);

interface Item {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion: string };
}

describe('orlop install', { timeout: 120_000 }, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'install', nodes: 0 });
    // Without a controller manager there is nobody who would make it.
    await cluster.apply([{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'old' } }]);
  }, 300_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  /** `KIND NAMESPACE/NAME` → its resource version, of every object of every kind. */
  async function everything(): Promise<Map<string, string>> {
    const kinds = (await cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name', '--cached=false'])).trim().split('\n').filter((kind) => !NO_STATE.has(kind));
    const { items } = JSON.parse(await cluster.kubectl(['get', kinds.join(','), '-A', '-o', 'json'])) as { items: Item[] };
    return new Map(items.map(({ kind, metadata: { namespace, name, resourceVersion } }) => [`${kind} ${namespace ?? ''}/${name}`, resourceVersion]));
  }

  async function install(...flags: string[]): Promise<Said> {
    return orlop(cluster, ['install', '--no-wait', ...flags]);
  }

  it('changes nothing when it is only asked what it would do', async () => {
    const before = await everything();
    const { code, out } = await install('--dry-run');
    expect(code, out).toBe(0);
    expect(out).toContain('created     CustomResourceDefinition virtualservices.networking.istio.io');
    expect(out).toContain(`created     DaemonSet ${SYSTEM}/orlop-agent`);
    expect(await everything()).toEqual(before);
  });

  it('makes what kubectl apply -k makes, and the definitions', async () => {
    const { code, out, err } = await install();
    expect(err).toBe('');
    expect(code, out).toBe(0);
    const wanted = [...await rendered('.'), ...await rendered('crds')];
    const found = await everything();
    expect(wanted.filter((name) => !found.has(name))).toEqual([]);
  });

  async function rendered(folder: string): Promise<string[]> {
    const yaml = await cluster.kubectl(['kustomize', join(DEPLOY, folder)]);
    return parseAllDocuments(yaml).map((document) => document.toJS() as Item).map(({ kind, metadata: { namespace, name } }) => `${kind} ${namespace ?? ''}/${name}`);
  }

  it('changes nothing the second time', async () => {
    const before = await everything();
    const { code, out } = await install();
    expect(code, out).toBe(0);
    expect(out).toContain('nothing had to be changed');
    expect(await everything()).toEqual(before);
  });

  it('says field by field what another image would change', async () => {
    const { code, out } = await install('--dry-run', '--image', 'registry.example:5000/orlop:2.0');
    expect(code, out).toBe(0);
    expect(out).toContain('- spec.template.spec.containers[0].image: "docker.io/library/orlop:dev"');
    expect(out).toContain('+ spec.template.spec.containers[0].image: "registry.example:5000/orlop:2.0"');
    expect(out).toContain('2 objects would change; nothing has been');
  });

  it('goes on from kubectl apply -k, and does not undo what others have set without being told', async () => {
    await cluster.kubectl(['patch', 'deployment', 'orlop-control', '-n', SYSTEM, '--field-manager=somebody', '-p', '{"spec":{"replicas":3}}']);
    const refused = await install();
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('conflict with "somebody"');
    expect(refused.err).toContain('.spec.replicas');
    expect(refused.err).toContain('--force-conflicts');
    expect((await install('--force-conflicts')).code).toBe(0);
    expect(await cluster.kubectl(['get', 'deployment', 'orlop-control', '-n', SYSTEM, '-o', 'jsonpath={.spec.replicas}'])).toBe('2');
  });

  describe('its definitions', () => {
    it('take every example, and keep fields that they do not know', async () => {
      const namespace = 'bookinfo';
      await cluster.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }]);
      for (const file of readdirSync(EXAMPLES)) {
        const { code, stderr } = await cluster.tryKubectl(['apply', '-n', namespace, '--dry-run=server', '-f', join(EXAMPLES, file)]);
        expect(code, `${file}: ${stderr}`).toBe(0);
      }
      await cluster.kubectl(['apply', '-n', namespace, '-f', '-'], 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: kept}\nspec: {hosts: [a], http: [{route: [{destination: {host: a}}], ofTheFuture: {a: 1}}]}\n');
      expect(await cluster.kubectl(['get', 'vs', 'kept', '-n', namespace, '-o', 'jsonpath={.spec.http[0].ofTheFuture.a}'])).toBe('1');
      expect(await cluster.kubectl(['get', 'virtualservices.v1alpha3.networking.istio.io', 'kept', '-n', namespace, '-o', 'jsonpath={.apiVersion}'])).toBe('networking.istio.io/v1alpha3');
      expect(await cluster.kubectl(['get', 'vs', '-n', namespace])).toMatch(/NAME +GATEWAYS +HOSTS +AGE\nkept +\["a"\]/);
    });
  });
});
