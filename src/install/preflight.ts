/** What is looked at before anything is changed: whether the cluster is fit, who is allowed what, and who else is there. */
import { ApiError } from '../kube/api-client.ts';
import { record } from '../mesh/parse/json.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { groupOf } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { neighbours } from './neighbours.ts';

/** `error`: an installation would not work; `warning`: it will, but somebody should know. */
export type Level = 'ok' | 'warning' | 'error';

export interface Finding {
  readonly level: Level;
  readonly text: string;
  /** What to do; empty when all is well. */
  readonly remedy: string;
}

/** The node in a TokenReview, and AppArmor profiles as fields. */
const MINOR_MIN = 30;
/** SO_NETNS_COOKIE and what else capture asks of the kernel; with 5.17, eBPF programs can do it too. */
const KERNEL_MIN = [5, 14] as const;
const KERNEL_EBPF_MIN = [5, 17] as const;

export async function preflight(objects: ClusterObjects, manifests: readonly Manifest[]): Promise<Finding[]> {
  const findings = await Promise.all([serverVersion(objects), rights(objects, manifests), nodes(objects), neighbours(objects)]);
  return findings.flat();
}

async function serverVersion({ client }: ClusterObjects): Promise<Finding[]> {
  const { major, minor, gitVersion } = (await client.send('/version')) as { major: string; minor: string; gitVersion: string };
  // Providers write `30+`.
  const isNew = Number(major) > 1 || parseInt(minor, 10) >= MINOR_MIN;
  const text = `the API server at ${client.address} is Kubernetes ${gitVersion}`;
  return [isNew ? { level: 'ok', text, remedy: '' } : { level: 'error', text, remedy: `Orlop needs 1.${MINOR_MIN} or newer` }];
}

/** Is the caller allowed to make and change what is to be installed? */
async function rights(objects: ClusterObjects, manifests: readonly Manifest[]): Promise<Finding[]> {
  if (await may(objects, { group: '*', resource: '*', verb: '*' })) return [{ level: 'ok', text: 'you may do everything in this cluster', remedy: '' }];
  const wanted = new Map<string, Right>();
  for (const { apiVersion, kind, metadata: { namespace } } of manifests) {
    const resource = await objects.pluralOf(apiVersion, kind);
    if (resource === undefined) continue;
    for (const verb of ['get', 'create', 'patch']) {
      const right = { group: groupOf(apiVersion), resource, verb, ...(namespace !== undefined && { namespace }) };
      wanted.set(rightText(right), right);
    }
  }
  const allowed = await Promise.all([...wanted.values()].map(async (right) => may(objects, right)));
  const missing = [...wanted.keys()].filter((_, i) => allowed[i] !== true);
  if (missing.length === 0) return [{ level: 'ok', text: 'you may make and change everything that is installed', remedy: '' }];
  return [{ level: 'error', text: `you may not ${missing.join(', ')}`, remedy: 'install as an administrator of the cluster (kubectl auth can-i --list says what you may)' }];
}

interface Right {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace?: string;
}

function rightText({ verb, resource, group, namespace }: Right): string {
  return `${verb} ${resource}${group === '' ? '' : `.${group}`}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

async function may({ client }: ClusterObjects, resourceAttributes: Right): Promise<boolean> {
  const body = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec: { resourceAttributes } };
  const { status } = (await client.send('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { method: 'POST', body })) as { status?: { allowed?: boolean } };
  return status?.allowed === true;
}

/** Kernels as the kubelets report them; of cgroups and mounts they say nothing. */
async function nodes(objects: ClusterObjects): Promise<Finding[]> {
  const found = await listOf(objects, 'v1', 'Node');
  if (found === undefined) return [{ level: 'warning', text: 'you may not look at nodes, so nobody knows whether their kernels will do', remedy: `they must be Linux ${KERNEL_MIN.join('.')} or newer` }];
  const linux = found.map((node) => ({ name: node.metadata.name, info: infoOf(node) })).filter(({ info }) => (info['operatingSystem'] ?? 'linux') === 'linux');
  if (linux.length === 0) return [{ level: 'warning', text: 'there is no Linux node', remedy: 'agents start when there is one' }];
  const older = (bound: readonly [number, number]): string[] => linux.filter(({ info }) => isOlder(info['kernelVersion'], bound)).map(({ name, info }) => `${name} (${info['kernelVersion'] ?? ''})`);
  const tooOld = older(KERNEL_MIN);
  const withoutEbpf = older(KERNEL_EBPF_MIN).filter((name) => !tooOld.includes(name));
  const kernels = [...new Set(linux.map(({ info }) => info['kernelVersion'] ?? 'unknown'))].sort();
  return [
    ...(tooOld.length > 0 ? [{ level: 'error' as const, text: `the kernel is too old on ${tooOld.join(', ')}`, remedy: `Orlop needs Linux ${KERNEL_MIN.join('.')} or newer; keep agents off these nodes with a label and nodeSelector in a kustomization of yours, or upgrade them` }] : []),
    ...(withoutEbpf.length > 0 ? [{ level: 'ok' as const, text: `traffic is captured by iptables on ${withoutEbpf.join(', ')} (eBPF from Linux ${KERNEL_EBPF_MIN.join('.')})`, remedy: '' }] : []),
    ...(tooOld.length === 0 ? [{ level: 'ok' as const, text: `${linux.length} node${linux.length === 1 ? '' : 's'} with Linux ${kernels.join(', ')}`, remedy: '' }] : []),
  ];
}

function infoOf(node: Manifest): Readonly<Record<string, string>> {
  return record(record(node['status'])['nodeInfo']) as Readonly<Record<string, string>>;
}

/** A version that cannot be read is given the benefit of the doubt: the agent looks for itself. */
function isOlder(version = '', [major, minor]: readonly [number, number]): boolean {
  const [, first, second] = /^(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
  if (first === undefined || second === undefined) return false;
  return first < major || (first === major && second < minor);
}

/** Undefined when the caller may not. */
async function listOf(objects: ClusterObjects, apiVersion: string, kind: string): Promise<Manifest[] | undefined> {
  try {
    return await objects.list(apiVersion, kind);
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return undefined;
    throw error;
  }
}
