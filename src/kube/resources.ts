/** What is read of a cluster, and how much of each object is kept: what this node's mesh needs, and no more. */
import { KINDS } from '../mesh/parse/istio-schemas.ts';
import { DEFAULT_MESH_CONFIG } from '../mesh/snapshot.ts';
import type { ApiObject, Query } from './api-client.ts';
import { keepConfigMap, keepEndpointSlice, keepHead, keepPod, keepSpec } from './kept.ts';

export interface Resource {
  readonly kind: string;
  /** Of the collection: `/api/v1/pods`. */
  readonly path: string;
  readonly query?: Query;
  /** Only the metadata of its objects are wanted. */
  readonly metadataOnly?: boolean;
  /** The part of an object that is kept, with its apiVersion and kind, which lists leave out. */
  keep(object: ApiObject): ApiObject;
}

/** Of `node`, pods are kept with all that capture and probes need; of others, what it takes to reach them. */
export function coreResources(node: string | undefined): Resource[] {
  const { rootNamespace } = DEFAULT_MESH_CONFIG;
  return [
    { kind: 'Namespace', path: '/api/v1/namespaces', keep: typed('v1', 'Namespace', keepHead) },
    { kind: 'Pod', path: '/api/v1/pods', keep: typed('v1', 'Pod', (pod) => keepPod(pod, node)) },
    { kind: 'Service', path: '/api/v1/services', keep: typed('v1', 'Service', keepSpec) },
    { kind: 'EndpointSlice', path: '/apis/discovery.k8s.io/v1/endpointslices', keep: typed('discovery.k8s.io/v1', 'EndpointSlice', keepEndpointSlice) },
    { kind: 'ConfigMap', path: `/api/v1/namespaces/${rootNamespace}/configmaps`, query: { fieldSelector: 'metadata.name=istio' }, keep: typed('v1', 'ConfigMap', keepConfigMap) },
  ];
}

function typed(apiVersion: string, kind: string, keep: (object: ApiObject) => ApiObject): Resource['keep'] {
  return (object) => ({ apiVersion, kind, ...keep(object) });
}

/** A kind of Istio's that is installed in the cluster. */
export function meshResource(kind: string, apiVersion: string, plural: string): Resource {
  return { kind, path: `/apis/${apiVersion}/${plural}`, keep: (object) => ({ apiVersion, kind, ...keepSpec(object) }) };
}

/**
 * Kinds that come with CRDs, with their API versions, the preferred one first: those that are honoured, and Istio's Gateway, since rules that
 * name one are held back where it is missing.
 */
export const MESH_KINDS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(KINDS)
    .filter(([kind, { support }]) => support === 'honoured' || kind === 'Gateway')
    .map(([kind, { groups }]) => [kind, groups.filter((group) => group.includes('.istio.io/'))]),
);

/** `networking.istio.io` and the like. */
export const MESH_GROUPS: readonly string[] = [...new Set([...MESH_KINDS.values()].flat().map((apiVersion) => apiVersion.split('/')[0] as string))];

/** CRDs by name alone: with their schemas they have megabytes. */
export const CRDS: Resource = {
  kind: 'CustomResourceDefinition',
  path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
  metadataOnly: true,
  keep: keepHead,
};
