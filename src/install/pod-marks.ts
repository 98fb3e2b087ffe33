/** What agents wrote on pods, and take back when they end, unless they were killed or had no time left for it. */
import { unlessMissing } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { STATUS_ANNOTATION } from '../kube/pod-status.ts';
import type { Manifest } from './manifest.ts';

/** Lists in parts, and of pods only what stands above their spec: there may be a hundred thousand. */
const CHUNK = 500;
const METADATA_ONLY = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

interface PodList {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly Pick<Manifest, 'metadata'>[];
}

/** Remove the annotation from every pod that still has it. Returns how many had. */
export async function removePodMarks(client: ApiClient): Promise<number> {
  let next: string | undefined;
  let removed = 0;
  do {
    const { items, metadata } = (await client.send('/api/v1/pods', { query: { limit: CHUNK, continue: next }, accept: METADATA_ONLY })) as unknown as PodList;
    for (const { metadata: { namespace = '', name, annotations = {} } } of items) {
      if (annotations[STATUS_ANNOTATION] === undefined) continue;
      const body = { metadata: { annotations: { [STATUS_ANNOTATION]: null } } };
      await unlessMissing(client.send(`/api/v1/namespaces/${namespace}/pods/${name}`, { method: 'PATCH', body }));
      removed += 1;
    }
    next = metadata.continue === '' ? undefined : metadata.continue;
  } while (next !== undefined);
  return removed;
}
