/** `orlop install` on a real API server: what is there afterwards, what others have put there, and what a dry run changes. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ApiClient, ApiError } from '../../src/kube/api-client.ts';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';
import { customResourceDefinitions } from '../../src/mesh/crd.ts';
import { kindOf } from '../../src/mesh/parse/istio-schemas.ts';
import { check } from '../../src/mesh/parse/schema.ts';
import type { Schema } from '../../src/mesh/parse/schema.ts';
import { Cluster } from './cluster/cluster.ts';
import { orlop } from './command-line.ts';
import type { Said } from './command-line.ts';
import { minimal, wrongObjects } from './wrong-objects.ts';

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

describe('orlop install', { timeout: 240_000 }, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'install', nodes: 0 });
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

  it('refuses a cluster whose kernels are too old, and names others who capture traffic', async () => {
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'old' } },
      { apiVersion: 'admissionregistration.k8s.io/v1', kind: 'MutatingWebhookConfiguration', metadata: { name: 'istio-sidecar-injector-canary' }, webhooks: [] },
    ]);
    await setKernel('4.19.0-amd64');
    const before = await everything();
    const { code, out, err } = await install();
    expect(code).toBe(1);
    expect(out).toContain('× the kernel is too old on old (4.19.0-amd64)\n    → Orlop needs Linux 5.14');
    expect(out).toContain('‼ Istio\'s sidecar injector is installed\n    → before a namespace joins');
    expect(err).toBe('orlop install: nothing was changed\n');
    expect(await everything()).toEqual(before);
    await setKernel('6.1.0-amd64');
  });

  async function setKernel(kernelVersion: string): Promise<void> {
    const nodeInfo = { kernelVersion, operatingSystem: 'linux', architecture: 'amd64', bootID: '', containerRuntimeVersion: '', kubeProxyVersion: '', kubeletVersion: '', machineID: '', osImage: '', systemUUID: '' };
    await cluster.kubectl(['patch', 'node', 'old', '--subresource=status', '-p', JSON.stringify({ status: { nodeInfo } })]);
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
    // Kustomize gives a namespace also to kinds that have none, when it does not know them.
    return parseAllDocuments(yaml).map((document) => document.toJS() as Item).map(({ kind, metadata: { namespace = '', name } }) => `${kind} ${kind.startsWith('ValidatingAdmission') ? '' : namespace}/${name}`);
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

    it('refuse what `config check` refuses by its schemas', async () => {
      const client = new ApiClient(await kubeconfigCredentials(cluster.kubeconfig));
      let asked = 0;
      try {
        for (const { group, plural, kind, schema } of honouredKinds()) {
          const post = async (spec: unknown): Promise<number> => {
            asked += 1;
            const namespaced = kind === 'GatewayClass' ? '' : '/namespaces/default';
            const body = { apiVersion: `${group}/v1`, kind, metadata: { name: 'a' }, spec };
            return client.send(`/apis/${group}/v1${namespaced}/${plural}`, { method: 'POST', query: { dryRun: 'All' }, body }).then(() => 201, (error: unknown) => (error instanceof ApiError ? error.status : 0));
          };
          expect([kind, errorsOf(minimal(schema), schema), await post(minimal(schema))]).toEqual([kind, 0, 201]);
          const wrong = [...wrongObjects(schema)];
          expect(wrong.filter(({ spec }) => errorsOf(spec, schema) === 0).map(({ what }) => `${kind} ${what}`)).toEqual([]);
          const answers = await Promise.all(wrong.map(async ({ spec }) => post(spec)));
          expect(wrong.filter((_, i) => answers[i] !== 422).map(({ what }, i) => `${kind} ${what} ${answers[i] ?? ''}`)).toEqual([]);
        }
      } finally {
        client.close();
      }
      expect(asked).toBeGreaterThan(400);
    });
  });

  describe('and uninstall', () => {
    it('leave definitions alone that others have put in the place of ours', async () => {
      const theirs = JSON.parse(await cluster.kubectl(['get', 'crd', 'workloadentries.networking.istio.io', '-o', 'json'])) as { metadata: object; spec: { names: object } };
      const { apiVersion, kind } = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' };
      const applied = { apiVersion, kind, metadata: { name: 'workloadentries.networking.istio.io' }, spec: { ...theirs.spec, names: { ...theirs.spec.names, shortNames: ['we', 'wle'] } } };
      await cluster.kubectl(['apply', '--server-side', '--force-conflicts', '--field-manager=istioctl', '-f', '-'], JSON.stringify(applied));
      const before = await everything();
      const { code, out } = await install();
      expect(code, out).toBe(0);
      expect(out).toContain('left        CustomResourceDefinition workloadentries.networking.istio.io (is there, and not by orlop install)');
      expect(await everything()).toEqual(before);
    });

    it('remove what is ours and unused, and all that is ours when they are told to', async () => {
      const before = await everything();
      const dry = await orlop(cluster, ['uninstall', '--dry-run']);
      expect(dry.code, dry.err).toBe(0);
      expect(await everything()).toEqual(before);
      const { code, out, err } = await orlop(cluster, ['uninstall', '--no-wait']);
      expect(code, out + err).toBe(0);
      expect(out).toContain('left        CustomResourceDefinition virtualservices.networking.istio.io (there are 1 virtualservices; with --purge they go with it)');
      expect(await ours()).toEqual([`ConfigMap ${SYSTEM}/orlop-installed`, ...definitions('virtualservices', 'workloadentries'), `Namespace /${SYSTEM}`]);
      expect((await orlop(cluster, ['uninstall', '--no-wait', '--purge'])).code).toBe(0);
      await cluster.until('the definition is gone', async () => (await ours()).length === 3);
      expect(await ours()).toEqual([`ConfigMap ${SYSTEM}/orlop-installed`, ...definitions('workloadentries'), `Namespace /${SYSTEM}`]);
    });

    function definitions(...plurals: string[]): string[] {
      return plurals.map((plural) => `CustomResourceDefinition /${plural}.networking.istio.io`);
    }

    /** The namespace is being deleted, but there is no controller manager that would empty it. */
    async function ours(): Promise<string[]> {
      return [...(await everything()).keys()].filter((name) => name.includes('orlop') || /CustomResourceDefinition.*(istio|gateway\.networking)/.test(name)).sort();
    }
  });
});

function honouredKinds(): { group: string; plural: string; kind: string; schema: Schema }[] {
  return customResourceDefinitions().map(({ spec }) => {
    const { group, names: { plural, kind } } = spec as { group: string; names: { plural: string; kind: string } };
    return { group, plural, kind, schema: kindOf(kind, `${group}/v1`).kind?.schema as Schema };
  });
}

function errorsOf(spec: unknown, schema: Schema): number {
  let errors = 0;
  check(spec, schema, ['spec'], { isFull: false, regexChars: 0, error: () => { errors += 1; }, warning: () => undefined });
  return errors;
}
