/**
 * What was installed last, and before that, kept in the cluster: so that an upgrade removes what it no longer has, and can be taken back; and
 * what an uninstallation has begun. ConfigMaps beside the installation; there is nothing secret in its manifests.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { API_ANSWER_BYTES_MAX } from '../core/limits.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';

const NAME = 'orlop-installed';
const DEPARTURE_NAME = 'orlop-uninstalling';

export interface InstallRecord {
  readonly current: readonly Manifest[];
  readonly previous: readonly Manifest[];
}

export async function readRecord(objects: ClusterObjects, namespace: string): Promise<InstallRecord | undefined> {
  const found = await objects.get(configMap(NAME, namespace, {}));
  if (found === undefined) return undefined;
  const { current, previous } = (found['binaryData'] ?? {}) as Readonly<Record<string, string>>;
  return { current: unpackAll(current), previous: unpackAll(previous) };
}

export async function writeRecord(objects: ClusterObjects, namespace: string, { current, previous }: InstallRecord): Promise<void> {
  await objects.apply(configMap(NAME, namespace, { current: pack(current), previous: pack(previous) }), { force: true });
}

/** An uninstallation that is under way: whose nodes are to be looked at when the agents are gone, and with what they ran. */
export interface Departure {
  readonly agents: Manifest;
  readonly nodes: readonly string[];
}

/** Of one that was interrupted; undefined: there is none, or it has looked at all nodes. */
export async function readDeparture(objects: ClusterObjects, namespace: string): Promise<Departure | undefined> {
  const found = await objects.get(configMap(DEPARTURE_NAME, namespace, {}));
  const { departure } = (found?.['binaryData'] ?? {}) as Readonly<Record<string, string>>;
  return departure === undefined ? undefined : (unpack(departure) as Departure);
}

export async function writeDeparture(objects: ClusterObjects, namespace: string, departure: Departure): Promise<void> {
  await objects.apply(configMap(DEPARTURE_NAME, namespace, { departure: pack(departure) }), { force: true });
}

export async function removeDeparture(objects: ClusterObjects, namespace: string): Promise<void> {
  await objects.remove(configMap(DEPARTURE_NAME, namespace, {}));
}

function configMap(name: string, namespace: string, binaryData: Readonly<Record<string, string>>): Manifest {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels: { [PART_OF.label]: PART_OF.value } }, binaryData };
}

function pack(value: unknown): string {
  return gzipSync(JSON.stringify(value)).toString('base64');
}

function unpackAll(packed: string | undefined): Manifest[] {
  return packed === undefined ? [] : (unpack(packed) as Manifest[]);
}

function unpack(packed: string): unknown {
  return JSON.parse(gunzipSync(Buffer.from(packed, 'base64'), { maxOutputLength: API_ANSWER_BYTES_MAX }).toString());
}
