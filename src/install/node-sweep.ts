/**
 * What agents leave on their nodes is removed by the agents themselves when they end. Whether nothing was left, also by one that could not end in
 * good order, is looked at afterwards: by a pod on each node that runs `orlop leftovers` with the agents' image, rights and mounts, and then goes.
 */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { record, text } from '../mesh/parse/json.ts';
import type { ApiObject } from '../kube/api-client.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { untilNone } from './until-none.ts';

export interface NodeFinding {
  readonly node: string;
  readonly isClean: boolean;
  /** What was removed, what is left, or why nobody knows. */
  readonly text: string;
}

const POLL_MS = 500;
const COMPONENT = 'leftovers';
/** What `orlop leftovers` must know of the agent. */
const SHARED_FLAG = /^--(?:node|cni-conf-dir|cni-bin-dir)=/;
const RUN_FLAG = '--run-dir=';
/** Where the directory above the run directory is: what is a mount itself cannot be removed. */
const HOST = '/host';

interface Container extends ApiObject {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: unknown;
  readonly volumeMounts?: readonly VolumeMount[];
}

interface VolumeMount extends ApiObject {
  readonly name: string;
  readonly mountPath: string;
}

interface PodSpec extends ApiObject {
  readonly containers: readonly Container[];
  readonly volumes?: readonly ApiObject[];
}

/** Look at these nodes, with what their agents ran with. */
export async function sweepNodes(objects: ClusterObjects, agents: Manifest, nodes: readonly string[], timeoutMs: number): Promise<NodeFinding[]> {
  const { namespace = '' } = agents.metadata;
  const pods = nodes.map((node) => sweeper(agents, node));
  await clear(objects, namespace, timeoutMs);
  try {
    for (const pod of pods) await objects.apply(pod, { force: true });
    const ended = await untilEnded(objects, namespace, pods.length, timeoutMs);
    return await Promise.all(pods.map(async (pod, i) => finding(objects, nodes[i] as string, ended.get(pod.metadata.name), timeoutMs)));
  } finally {
    for (const pod of pods) await objects.remove(pod);
  }
}

/** Those of an earlier look that was interrupted answer for what was there then. */
async function clear(objects: ClusterObjects, namespace: string, timeoutMs: number): Promise<void> {
  for (const pod of await sweepers(objects, namespace)) await objects.remove(pod);
  await untilNone(async () => (await sweepers(objects, namespace)).length, timeoutMs);
}

async function sweepers(objects: ClusterObjects, namespace: string): Promise<Manifest[]> {
  return objects.list('v1', 'Pod', { namespace, labelSelector: `app.kubernetes.io/component=${COMPONENT}` });
}

/** The agent's own pod, with another command and only what is the node's of its volumes. */
function sweeper(agents: Manifest, node: string): Manifest {
  const template = record(record(agents['spec'])['template']);
  const { containers: [agent], volumes = [], ...spec } = template['spec'] as PodSpec;
  const ofNode = volumes.filter((volume) => volume['hostPath'] !== undefined);
  const names = new Set(ofNode.map(({ name }) => name));
  const { name: containerName = '', image, imagePullPolicy, args = [], env, securityContext, volumeMounts = [] } = agent ?? ({} as Partial<Container>);
  const run = runPlace({ args, volumeMounts }, ofNode);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      // Names of nodes may be longer than those of pods.
      name: `orlop-${COMPONENT}-${createHash('sha256').update(node).digest('hex').slice(0, 10)}`,
      namespace: agents.metadata.namespace ?? '',
      labels: { [PART_OF.label]: PART_OF.value, 'app.kubernetes.io/component': COMPONENT },
    },
    spec: {
      ...Object.fromEntries(Object.entries(spec).filter(([key]) => key !== 'initContainers')),
      nodeName: node,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      containers: [{
        name: containerName, image, imagePullPolicy, env, securityContext,
        args: ['leftovers', '--remove', ...args.filter((arg) => SHARED_FLAG.test(arg)), ...(run === undefined ? [] : [`${RUN_FLAG}${HOST}${run.path}`])],
        volumeMounts: volumeMounts.filter(({ name }) => names.has(name)).map((mount) => (run !== undefined && mount === run.mount ? { ...mount, mountPath: HOST + dirname(run.path) } : mount)),
      }],
      volumes: ofNode.map((volume) => (run !== undefined && volume['name'] === run.mount.name ? { ...volume, hostPath: { path: dirname(run.path), type: 'Directory' } } : volume)),
    },
  };
}

/** Where the run directory is on the node, and how agents have it. */
function runPlace({ args = [], volumeMounts = [] }: Partial<Container>, volumes: readonly ApiObject[]): { readonly path: string; readonly mount: VolumeMount } | undefined {
  const directory = args.find((arg) => arg.startsWith(RUN_FLAG))?.slice(RUN_FLAG.length);
  const mount = volumeMounts.find(({ mountPath }) => mountPath === directory);
  const path = text(record(volumes.find(({ name }) => name === mount?.name)?.['hostPath'])['path']);
  return mount === undefined || path === '' ? undefined : { path, mount };
}

/** By name; those that have not ended in time are not in it. */
async function untilEnded(objects: ClusterObjects, namespace: string, count: number, timeoutMs: number): Promise<Map<string, Manifest>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const ended = (await sweepers(objects, namespace)).filter(({ status }) => ['Succeeded', 'Failed'].includes(String(record(status)['phase'])));
    if (ended.length >= count || performance.now() > deadline) return new Map(ended.map((pod) => [pod.metadata.name, pod]));
    await sleep(POLL_MS);
  }
}

async function finding({ client }: ClusterObjects, node: string, pod: Manifest | undefined, timeoutMs: number): Promise<NodeFinding> {
  if (pod === undefined) return { node, isClean: false, text: `could not be looked at within ${timeoutMs / 1000} s; when it is back, run on it: orlop leftovers --remove --node ${node}` };
  const lines: string[] = [];
  for await (const line of client.lines(`/api/v1/namespaces/${pod.metadata.namespace ?? ''}/pods/${pod.metadata.name}/log`, { accept: '*/*' }, () => undefined)) lines.push(line);
  return { node, isClean: record(pod['status'])['phase'] === 'Succeeded', text: lines.join('; ') };
}
