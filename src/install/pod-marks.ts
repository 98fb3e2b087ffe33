/** What agents wrote on pods, and take back when they end, unless they were killed or had no time left for it. */
import { unlessMissing } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { STATUS_ANNOTATION } from '../kube/pod-status.ts';
import { chunksOf } from './chunks.ts';
import type { Manifest } from './manifest.ts';

/** Of pods, only what stands above their spec. */
const METADATA_ONLY = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

/** Remove the annotation from every pod that still has it. Returns how many had. */
export async function removePodMarks(client: ApiClient): Promise<number> {
  let removed = 0;
  for await (const pods of chunksOf(async (path, options) => client.send(path, options), '/api/v1/pods', METADATA_ONLY)) {
    for (const { metadata: { namespace = '', name, annotations = {} } } of pods as readonly Manifest[]) {
      if (annotations[STATUS_ANNOTATION] === undefined) continue;
      const body = { metadata: { annotations: { [STATUS_ANNOTATION]: null } } };
      await unlessMissing(client.send(`/api/v1/namespaces/${namespace}/pods/${name}`, { method: 'PATCH', body }));
      removed += 1;
    }
  }
  return removed;
}
