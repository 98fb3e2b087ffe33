/** Who takes part in the mesh: whose word counts, in whose words, and who cannot though they ask. */
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../../src/mesh/build.ts';
import type { Workload } from '../../../src/mesh/snapshot.ts';
import { application, snapshotOf, tableOf } from '../world.ts';

const annotation = (wish: string): string => `, annotations: {orlop.io/mesh: ${wish}}`;
const label = (wish: string): string => `, labels: {orlop.io/mesh: ${wish}}`;
const istio = (mode: string): string => `, labels: {istio.io/dataplane-mode: ${mode}}`;

function pod(meta: string, namespaceMeta = '', options: { spec?: string; more?: string } = {}): Workload {
  const { spec = '{containers: []}', more = '' } = options;
  const snapshot = snapshotOf({
    'a.yaml': `apiVersion: v1\nkind: Namespace\nmetadata: {name: shop${namespaceMeta}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: cart, namespace: shop${meta}}\nspec: ${spec}\n${more}`,
  });
  return snapshot.workloads[0] as Workload;
}

describe('taking part', () => {
  it('is by annotation or label of the pod, else of its namespace, else not', () => {
    expect(pod(annotation('enabled'))).toMatchObject({ asked: true, enrolled: true, enrolReason: 'its annotation orlop.io/mesh: enabled' });
    expect(pod(label('enabled'))).toMatchObject({ enrolled: true, enrolReason: 'its label orlop.io/mesh: enabled' });
    expect(pod('', annotation('enabled'))).toMatchObject({ enrolled: true, enrolReason: 'annotation orlop.io/mesh: enabled of namespace shop' });
    expect(pod('')).toMatchObject({ asked: false, enrolled: false, enrolReason: 'neither it nor namespace shop has orlop.io/mesh: enabled' });
  });

  it('the pod\'s own word wins over its namespace\'s', () => {
    expect(pod(annotation('disabled'), annotation('enabled')).enrolled).toBe(false);
    expect(pod(annotation('enabled'), annotation('disabled')).enrolled).toBe(true);
  });

  it('is not for pods of the host network, also where they ask', () => {
    const spec = '{hostNetwork: true}';
    expect(pod(annotation('enabled'), '', { spec })).toMatchObject({ asked: true, enrolled: false, enrolReason: expect.stringContaining('host network') as string });
    expect(pod('', '', { spec })).toMatchObject({ asked: false, enrolled: false, enrolReason: expect.stringContaining('neither it nor') as string });
  });

  it('a wish that is neither is as if it were not there, and the pod stays an endpoint', () => {
    const app = application('shop', ['cart']).replace('orlop.io/mesh: enabled', 'orlop.io/mesh: on');
    const snapshot = snapshotOf({ 'a.yaml': `${app}---${application('shop', ['web']).replaceAll('10.244.4', '10.244.9')}` });
    expect(snapshot.workloads.find(({ id }) => id === 'shop/cart-v1')?.enrolled).toBe(false);
    expect(tableOf(snapshot, 'shop/web-v1').clusters.get('outbound|9080||cart.shop.svc.cluster.local')?.endpoints).toHaveLength(1);
  });
});

describe('Istio\'s label', () => {
  it('is understood on namespaces and pods', () => {
    expect(pod('', istio('ambient'))).toMatchObject({ enrolled: true, enrolReason: 'label istio.io/dataplane-mode: ambient of namespace shop' });
    expect(pod(istio('ambient'))).toMatchObject({ enrolled: true, enrolReason: 'its label istio.io/dataplane-mode: ambient' });
    expect(pod(istio('none'), istio('ambient'))).toMatchObject({ asked: false, enrolled: false, enrolReason: 'its label istio.io/dataplane-mode: none' });
    expect(pod(', annotations: {istio.io/dataplane-mode: ambient}').enrolled).toBe(false);
  });

  it.each([
    // pod, namespace, enrolled, whose word it was
    [annotation('disabled'), istio('ambient'), false, 'its annotation orlop.io/mesh'],
    [annotation('enabled'), istio('none'), true, 'its annotation orlop.io/mesh'],
    [istio('none'), annotation('enabled'), false, 'its label istio.io/dataplane-mode'],
    [istio('ambient'), annotation('disabled'), true, 'its label istio.io/dataplane-mode'],
    [', labels: {orlop.io/mesh: disabled, istio.io/dataplane-mode: ambient}', '', false, 'its label orlop.io/mesh'],
    ['', ', labels: {istio.io/dataplane-mode: none}, annotations: {orlop.io/mesh: enabled}', true, 'annotation orlop.io/mesh'],
  ])('with Orlop\'s: the nearer object wins, in one object Orlop\'s (pod%s, namespace%s)', (own, inherited, enrolled, word) => {
    expect(pod(own, inherited)).toMatchObject({ enrolled, enrolReason: expect.stringContaining(word) as string });
  });

  it('can be left to Istio, and that is said', () => {
    const more = '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {orlop: "istioDataplaneMode: ignored"}\n';
    expect(pod('', istio('ambient'), { more })).toMatchObject({ asked: false, enrolled: false, enrolReason: expect.stringContaining('the label istio.io/dataplane-mode is ignored, as ConfigMap istio says') as string });
    expect(pod(annotation('enabled'), istio('none'), { more }).enrolled).toBe(true);
  });

  it('an unknown mode, and an unknown setting, are named', () => {
    const problems = (yaml: string): string[] => snapshotOf({ 'a.yaml': yaml }).problems.map(({ code, field, message }) => `${code} ${field} ${message}`);
    expect(problems('apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: sidecar}}\n')).toEqual(['ORLOP008 metadata.labels.istio.io/dataplane-mode "sidecar" is neither ambient nor none']);
    expect(problems('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {orlop: "istioDataplaneMode: off"}\n')).toEqual([expect.stringMatching(/data\.orlop\.istioDataplaneMode/) as string]);
  });

  it('a pod that Istio has captured is left to it, whoever asks', () => {
    for (const wish of ['orlop.io/mesh: enabled', 'a: b']) {
      expect(pod(`, labels: {istio.io/dataplane-mode: ambient}, annotations: {ambient.istio.io/redirection: enabled, ${wish}}`)).toMatchObject({ asked: true, enrolled: false, enrolReason: expect.stringContaining('Istio has captured it') as string });
    }
  });

  it('follows the setting as it changes, without the pod having changed', () => {
    const objects = [
      { name: 'Namespace shop', value: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { 'istio.io/dataplane-mode': 'ambient' } } } },
      { name: 'Pod shop/cart', value: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'cart', namespace: 'shop' }, spec: { containers: [] } } },
    ];
    const setting = (value: string): { name: string; value: Record<string, unknown> } => ({ name: 'ConfigMap istio-system/istio', value: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'istio', namespace: 'istio-system' }, data: { orlop: `istioDataplaneMode: ${value}` } } });
    const first = buildSnapshot([...objects, setting('ignored')]);
    const second = buildSnapshot([...objects, setting('honoured')], first);
    expect([first, second].map(({ workloads }) => workloads[0]?.enrolled)).toEqual([false, true]);
  });
});
