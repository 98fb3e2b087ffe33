/**
 * What was installed last, and before that, kept in the cluster: so that an upgrade removes what it no longer has, and can be taken back. A ConfigMap
 * beside the installation; there is nothing secret in its manifests.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { API_ANSWER_BYTES_MAX } from '../core/limits.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';

const NAME = 'orlop-installed';

export interface InstallRecord {
  readonly current: readonly Manifest[];
  readonly previous: readonly Manifest[];
}

export async function readRecord(objects: ClusterObjects, namespace: string): Promise<InstallRecord | undefined> {
  const found = await objects.get(recordObject(namespace, {}));
  if (found === undefined) return undefined;
  const { current, previous } = (found['binaryData'] ?? {}) as Readonly<Record<string, string>>;
  return { current: unpack(current), previous: unpack(previous) };
}

export async function writeRecord(objects: ClusterObjects, namespace: string, { current, previous }: InstallRecord): Promise<void> {
  await objects.apply(recordObject(namespace, { current: pack(current), previous: pack(previous) }), { force: true });
}

function recordObject(namespace: string, binaryData: Readonly<Record<string, string>>): Manifest {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: NAME, namespace, labels: { [PART_OF.label]: PART_OF.value } }, binaryData };
}

function pack(manifests: readonly Manifest[]): string {
  return gzipSync(JSON.stringify(manifests)).toString('base64');
}

function unpack(packed: string | undefined): Manifest[] {
  return packed === undefined ? [] : (JSON.parse(gunzipSync(Buffer.from(packed, 'base64'), { maxOutputLength: API_ANSWER_BYTES_MAX }).toString()) as Manifest[]);
}
