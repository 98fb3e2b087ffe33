/** What the control plane has said of users' objects in their status: taken back when it has gone, since nobody stands by it any more. */
import { ApiError, isMissing } from '../kube/api-client.ts';
import { CONTROLLER_NAME } from '../mesh/gateway/resources.ts';
import { record, text } from '../mesh/parse/json.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import type { Manifest } from './manifest.ts';
import { meshKind, meshKinds } from './mesh-objects.ts';
import type { MeshKind } from './mesh-objects.ts';
import { isOwnedByClass, withoutOurs } from './own-status.ts';
import type { Finding } from './preflight.ts';

export interface StatusOptions {
  readonly dryRun: boolean;
  readonly onProgress: (text: string) => void;
  /** What stays, and why. */
  readonly onFinding: (finding: Finding) => void;
}

/** Objects of a kind that are written at the same time. */
const AT_ONCE = 16;
const TRIES = 5;
const CONFLICT = 409;

/** Resolves with the number of objects of which it says nothing any more; what cannot be taken back is told, and the rest is done all the same. */
export async function takeBackStatuses(objects: ClusterObjects, options: StatusOptions): Promise<number> {
  const foreign = await foreignClasses(objects);
  let sum = 0;
  for (const kind of await meshKinds(objects)) sum += await takeBack(objects, kind, foreign, options);
  return sum;
}

async function takeBack(objects: ClusterObjects, { apiVersion, kind, resource }: MeshKind, foreign: ReadonlySet<string>, { dryRun, onProgress, onFinding }: StatusOptions): Promise<number> {
  let done = 0;
  const failures: string[] = [];
  const one = async (object: Manifest): Promise<void> => {
    try {
      if (await clear(objects, object, foreign, dryRun)) done += 1;
    } catch (error) {
      failures.push(answerOf(error));
    }
  };
  try {
    for await (const chunk of objects.chunks(apiVersion, kind)) {
      const ours = chunk.filter((object) => withoutOurs(object) !== undefined);
      for (let i = 0; i < ours.length; i += AT_ONCE) await Promise.all(ours.slice(i, i + AT_ONCE).map(one));
    }
  } catch (error) {
    // The kind may have gone meanwhile.
    if (!isMissing(error)) onFinding({ level: 'error', text: `what Orlop says in the status of ${resource} stays: ${answerOf(error)}`, remedy: `run it again as somebody who may list ${resource} and patch their status` });
  }
  if (done > 0) onProgress(`what Orlop says in the status of ${done} ${resource} ${dryRun ? 'would be' : 'is'} taken back`);
  const [failure] = failures;
  if (failure !== undefined) onFinding({ level: 'error', text: `what Orlop says in the status of ${failures.length} ${resource} stays: ${failure}`, remedy: `run it again as somebody who may patch the status of ${resource}` });
  return done;
}

/** False when there was nothing of ours in it any more, or it has gone. */
async function clear(objects: ClusterObjects, listed: Manifest, foreign: ReadonlySet<string>, dryRun: boolean): Promise<boolean> {
  if (isOwnedByClass(listed) && foreign.has(await classOf(objects, listed))) return false;
  let object: Manifest | undefined = listed;
  for (let tries = TRIES; ; tries -= 1) {
    const change = object === undefined ? undefined : withoutOurs(object);
    if (object === undefined || change === undefined) return false;
    if (dryRun) return true;
    try {
      await objects.writeStatus(object, change);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      if (!(error instanceof ApiError) || error.status !== CONFLICT || tries === 1) throw error;
    }
    object = await objects.get(listed);
  }
}

/** GatewayClasses of other controllers: what has gone over to one of them is theirs. */
async function foreignClasses(objects: ClusterObjects): Promise<ReadonlySet<string>> {
  const kind = await meshKind(objects, 'GatewayClass');
  if (kind === undefined) return new Set();
  try {
    const classes = await objects.list(kind.apiVersion, kind.kind);
    return new Set(classes.filter(({ spec }) => record(spec)['controllerName'] !== CONTROLLER_NAME).map(({ metadata }) => metadata.name));
  } catch (error) {
    // Who may not look at them is told so when their own status is taken back.
    answerOf(error);
    return new Set();
  }
}

async function classOf(objects: ClusterObjects, { apiVersion, kind, metadata, spec }: Manifest): Promise<string> {
  if (kind === 'GatewayClass') return metadata.name;
  if (kind === 'Gateway') return text(record(spec)['gatewayClassName']);
  const parent = record(record(spec)['parentRef']);
  const gateway = await objects.get({ apiVersion, kind: 'Gateway', metadata: { namespace: text(parent['namespace']) || metadata.namespace || '', name: text(parent['name']) } });
  return gateway === undefined ? '' : classOf(objects, gateway);
}

/** What the API server says to it. Anything else is not to be lived with. */
function answerOf(error: unknown): string {
  if (!(error instanceof ApiError)) throw error;
  return error.message;
}
