/** Users' objects of the kinds that Orlop honours, or speaks of, in the version that the cluster serves. */
import { bareKind, CONTROL_KINDS } from '../kube/resources.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { groupOf } from './manifest.ts';

export interface MeshKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** `virtualservices.networking.istio.io` */
  readonly resource: string;
}

/** Those that are installed. */
export async function meshKinds(objects: ClusterObjects): Promise<MeshKind[]> {
  const kinds = await Promise.all([...CONTROL_KINDS.keys()].map(async (kind) => meshKind(objects, kind)));
  return kinds.filter((kind) => kind !== undefined);
}

/** By the name under which it is known here (`Gateway.networking.istio.io`); undefined when it is not installed. */
export async function meshKind(objects: ClusterObjects, name: string): Promise<MeshKind | undefined> {
  const kind = bareKind(name);
  for (const apiVersion of CONTROL_KINDS.get(name) ?? []) {
    const plural = await objects.pluralOf(apiVersion, kind);
    if (plural !== undefined) return { apiVersion, kind, resource: `${plural}.${groupOf(apiVersion)}` };
  }
  return undefined;
}
