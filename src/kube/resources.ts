/** What is read of a cluster, and how much of each object is kept: what this node's mesh needs, and no more. */
import { KINDS } from '../mesh/parse/istio-schemas.ts';
import type { Kind } from '../mesh/parse/istio-schemas.ts';
import { DEFAULT_MESH_CONFIG } from '../mesh/snapshot.ts';
import type { ApiObject, Query } from './api-client.ts';
import { keepConfigMap, keepEndpointSlice, keepHead, keepLabels, keepPod, keepPodIdentity, keepSpec } from './kept.ts';

export interface Resource {
  readonly kind: string;
  /** Of the collection: `/api/v1/pods`. */
  readonly path: string;
  readonly query?: Query;
  /** Only the metadata of its objects are wanted. */
  readonly metadataOnly?: boolean;
  /** The status of its objects is kept beside them, for whoever writes it. */
  readonly withStatus?: boolean;
  /** The part of an object that is kept, with its apiVersion and kind, which lists leave out. */
  keep(object: ApiObject): ApiObject;
}

/** What is followed of a cluster. */
export interface Scope {
  readonly core: readonly Resource[];
  /** Kinds that come with CRDs, with their API versions, the preferred one first. */
  readonly kinds: ReadonlyMap<string, readonly string[]>;
  readonly withStatus: boolean;
}

/** For the agent of a node: of its own pods, all that capture and probes need; of others, what it takes to reach them. */
export function nodeScope(node: string): Scope {
  return { core: [...coreResources(node), ENDPOINT_SLICES], kinds: MESH_KINDS, withStatus: false };
}

/** For the control plane: whom certificates are for, and what is said of the mesh's own objects, also of those that have no effect. */
export function controlScope(): Scope {
  return { core: coreResources(undefined), kinds: CONTROL_KINDS, withStatus: true };
}

const ENDPOINT_SLICES: Resource = { kind: 'EndpointSlice', path: '/apis/discovery.k8s.io/v1/endpointslices', keep: typed('discovery.k8s.io/v1', 'EndpointSlice', keepEndpointSlice) };

function coreResources(node: string | undefined): Resource[] {
  const { rootNamespace } = DEFAULT_MESH_CONFIG;
  return [
    { kind: 'Namespace', path: '/api/v1/namespaces', keep: typed('v1', 'Namespace', keepHead) },
    // Their labels say which gateways they serve. What they report of themselves comes every few seconds, and is of no use here.
    { kind: 'Node', path: '/api/v1/nodes', metadataOnly: true, ...(node === undefined ? {} : { query: { fieldSelector: `metadata.name=${node}` } }), keep: typed('v1', 'Node', keepLabels) },
    { kind: 'Pod', path: '/api/v1/pods', keep: typed('v1', 'Pod', node === undefined ? keepPodIdentity : (pod) => keepPod(pod, node)) },
    { kind: 'Service', path: '/api/v1/services', keep: typed('v1', 'Service', keepSpec) },
    { kind: 'ConfigMap', path: `/api/v1/namespaces/${rootNamespace}/configmaps`, query: { fieldSelector: 'metadata.name=istio' }, keep: typed('v1', 'ConfigMap', keepConfigMap) },
  ];
}

function typed(apiVersion: string, kind: string, keep: (object: ApiObject) => ApiObject): Resource['keep'] {
  return (object) => ({ apiVersion, kind, ...keep(object) });
}

/** The one kind of which nothing is ever said: its definition has no status. */
const UNSPOKEN = 'ReferenceGrant';

/** A kind that is installed in the cluster, by the name under which it is known here. */
export function meshResource(kind: string, apiVersion: string, plural: string, withStatus: boolean): Resource {
  const keep = typed(apiVersion, bareKind(kind), keepSpec);
  return { kind, path: `/apis/${apiVersion}/${plural}`, withStatus: withStatus && kind !== UNSPOKEN, keep };
}

/** As objects name it. */
export function bareKind(kind: string): string {
  return kind.split('.')[0] as string;
}

/** Those that are honoured, by the names under which they are known here (`Gateway.networking.istio.io`). */
export const MESH_KINDS: ReadonlyMap<string, readonly string[]> = kindsOf(['honoured']);

/** All that there are: those without effect are told so. */
export const CONTROL_KINDS: ReadonlyMap<string, readonly string[]> = kindsOf(['honoured', 'later']);

function kindsOf(wanted: readonly Kind['support'][]): ReadonlyMap<string, readonly string[]> {
  return new Map(Object.entries(KINDS).filter(([, { support }]) => wanted.includes(support)).map(([kind, { groups }]) => [kind, groups]));
}

/** `networking.istio.io` and the like. */
export function groupsOf(kinds: Scope['kinds']): string[] {
  return [...new Set([...kinds.values()].flat().map((apiVersion) => apiVersion.split('/')[0] as string))];
}

/** CRDs by name alone: with their schemas they have megabytes. */
export const CRDS: Resource = {
  kind: 'CustomResourceDefinition',
  path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
  metadataOnly: true,
  keep: keepHead,
};
