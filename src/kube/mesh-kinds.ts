/** Which of the kinds that a mesh is told by are installed in a cluster, and in which version they are read. */
import { unlessMissing } from './api-client.ts';
import type { ApiClient } from './api-client.ts';
import { bareKind, groupsOf, meshResource } from './resources.ts';
import type { Resource, Scope } from './resources.ts';

export interface InstalledKinds {
  /** In the version that is preferred here, of those that are served. */
  readonly resources: readonly Resource[];
  /** Of those, the ones whose status is wanted and is not served: their definition has no such subresource. */
  readonly mute: readonly Resource[];
  /** `virtualservices.networking.istio.io`: the CRDs that are served in any version. */
  readonly crds: ReadonlySet<string>;
}

interface Served {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly hasStatus: boolean;
}

/** Ask the API server. `inUse`: paths that stay as they are for as long as they are served. Rejects when it cannot be asked. */
export async function installedKinds(client: ApiClient, { kinds, withStatus }: Scope, inUse: ReadonlySet<string>): Promise<InstalledKinds> {
  const served = (await Promise.all(groupsOf(kinds).map((group) => servedIn(client, group)))).flat();
  const resources = [...kinds].flatMap(([kind, apiVersions]) => {
    const candidates = apiVersions.flatMap((apiVersion) => served.filter((one) => one.kind === bareKind(kind) && one.apiVersion === apiVersion)).map((one) => meshResource(kind, one.apiVersion, one.plural, withStatus));
    const chosen = candidates.find(({ path }) => inUse.has(path)) ?? candidates[0];
    return chosen === undefined ? [] : [chosen];
  });
  const mute = resources.filter((resource) => resource.withStatus === true && !served.some(({ apiVersion, plural, hasStatus }) => hasStatus && resource.path === `/apis/${apiVersion}/${plural}`));
  return { resources, mute, crds: new Set(served.map(({ apiVersion, plural }) => `${plural}.${apiVersion.split('/')[0] ?? ''}`)) };
}

async function servedIn(client: ApiClient, group: string): Promise<Served[]> {
  const found = await unlessMissing(client.send(`/apis/${group}`));
  const versions = ((found?.['versions'] ?? []) as { groupVersion: string }[]).map(({ groupVersion }) => groupVersion);
  const lists = await Promise.all(versions.map(async (apiVersion) => ({ apiVersion, list: await unlessMissing(client.send(`/apis/${apiVersion}`)) })));
  return lists.flatMap(({ apiVersion, list }) => {
    const resources = (list?.['resources'] ?? []) as { name: string; kind: string }[];
    // The others are parts of objects: `virtualservices/status`.
    return resources.filter(({ name }) => !name.includes('/')).map(({ name, kind }) => ({ apiVersion, kind, plural: name, hasStatus: resources.some((one) => one.name === `${name}/status`) }));
  });
}
