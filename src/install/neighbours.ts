/** Others in the cluster that capture pods' traffic, or decide how it flows: what they are, and how to live with them. */
import { ApiError } from '../kube/api-client.ts';
import { record } from '../mesh/parse/json.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import type { Manifest } from './manifest.ts';
import type { Finding } from './preflight.ts';

const CAPTURED_TWICE = 'a pod that two meshes capture is served by neither';

/** Nothing when nobody is there. */
export async function neighbours(objects: ClusterObjects): Promise<Finding[]> {
  const [webhooks, daemonSets, ciliumConfig] = await Promise.all([
    seen(objects.list('admissionregistration.k8s.io/v1', 'MutatingWebhookConfiguration')),
    seen(objects.list('apps/v1', 'DaemonSet')),
    seen(objects.get({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'kube-system', name: 'cilium-config' } }).then((found) => (found === undefined ? [] : [found]))),
  ]);
  return [...otherMeshes(webhooks, daemonSets), ...cilium(ciliumConfig[0]), ...calico(daemonSets)];
}

function otherMeshes(webhooks: readonly Manifest[], daemonSets: readonly Manifest[]): Finding[] {
  const findings: Finding[] = [];
  const warn = (text: string, remedy: string): void => {
    findings.push({ level: 'warning', text, remedy: `${remedy}: ${CAPTURED_TWICE}` });
  };
  if (webhooks.some(({ metadata: { name, labels = {} } }) => name.startsWith('istio-sidecar-injector') || labels['app'] === 'sidecar-injector')) {
    warn('Istio\'s sidecar injector is installed', 'before a namespace joins, remove its label istio-injection (or istio.io/rev) and restart its pods');
  }
  if (daemonSets.some(({ metadata: { name, labels = {} } }) => name === 'ztunnel' || labels['app'] === 'ztunnel')) {
    warn('Istio\'s ztunnel is installed', 'before a namespace joins, remove its label istio.io/dataplane-mode, or leave that label to one of both (orlop agent --help)');
  }
  if (webhooks.some(({ metadata: { name, labels = {} } }) => name.startsWith('linkerd-proxy-injector') || labels['linkerd.io/control-plane-component'] === 'proxy-injector')) {
    warn('Linkerd\'s proxy injector is installed', 'before a namespace joins, remove its annotation linkerd.io/inject and restart its pods');
  }
  return findings;
}

/** Cilium's agent reads both at its start (docs.cilium.io, "Integration with Istio"). */
function cilium(config: Manifest | undefined): Finding[] {
  if (config === undefined) return [];
  const settings = record(config['data']);
  const replacesKubeProxy = ['true', 'strict'].includes(String(settings['kube-proxy-replacement']));
  return [
    ...(replacesKubeProxy && settings['bpf-lb-sock-hostns-only'] !== 'true'
      ? [{ level: 'warning' as const, text: 'Cilium chooses endpoints of Services at the socket, before traffic is captured', remedy: 'set socketLB.hostNamespaceOnly=true in Cilium, or routes of Services do not apply' }]
      : []),
    ...(settings['cni-exclusive'] !== 'false'
      ? [{ level: 'warning' as const, text: 'Cilium removes other entries from the CNI configuration', remedy: 'set cni.exclusive=false in Cilium, or new pods are not captured from their first packet' }]
      : []),
  ];
}

function calico(daemonSets: readonly Manifest[]): Finding[] {
  const environment = daemonSets.filter(({ metadata: { name } }) => name === 'calico-node').flatMap(({ spec }) => containersOf(spec).flatMap(({ env = [] }) => env));
  if (!environment.some(({ name, value }) => name === 'FELIX_BPFENABLED' && value === 'true')) return [];
  return [{ level: 'warning', text: 'Calico\'s eBPF data plane chooses endpoints of Services at the socket, before traffic is captured', remedy: 'set bpfConnectTimeLoadBalancing: Disabled in its FelixConfiguration, or routes of Services do not apply' }];
}

interface Container {
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
}

function containersOf(spec: unknown): readonly Container[] {
  return (record(record(record(spec)['template'])['spec'])['containers'] ?? []) as readonly Container[];
}

/** What the caller may not look at counts as not there: that it may not install is said elsewhere. */
async function seen(list: Promise<Manifest[]>): Promise<Manifest[]> {
  try {
    return await list;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return [];
    throw error;
  }
}
