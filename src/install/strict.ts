/** Rules that refuse requests while some of the agents have left and others have not. */
import { ApiError } from '../kube/api-client.ts';
import { record } from '../mesh/parse/json.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import type { Manifest } from './manifest.ts';
import { meshKind } from './mesh-objects.ts';
import type { Finding } from './preflight.ts';

const NAMED_MAX = 3;
const FORBIDDEN = 403;
const REMEDY = 'for an uninstallation without refusals, set them to PERMISSIVE before; once all agents have left nothing is refused';

/** What happens to requests while agents leave; nothing when no PeerAuthentication asks for STRICT. */
export async function strictWarning(objects: ClusterObjects): Promise<Finding[]> {
  const kind = await meshKind(objects, 'PeerAuthentication');
  if (kind === undefined) return [];
  try {
    const strict = (await objects.list(kind.apiVersion, kind.kind)).filter(isStrict).map(({ metadata: { namespace = '', name } }) => `${namespace}/${name}`).sort();
    if (strict.length === 0) return [];
    const names = `${strict.slice(0, NAMED_MAX).join(', ')}${strict.length > NAMED_MAX ? `, … (${strict.length})` : ''}`;
    return [{ level: 'warning', text: `STRICT is asked for by PeerAuthentication ${names}: while agents leave, for some seconds, pods that are still held refuse requests of pods that were let go already`, remedy: REMEDY }];
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== FORBIDDEN) throw error;
    return [{ level: 'warning', text: `you may not look at ${kind.resource}: where one asks for STRICT, pods that are still held refuse requests of pods that were let go already, for some seconds`, remedy: REMEDY }];
  }
}

function isStrict({ spec }: Manifest): boolean {
  const { mtls, portLevelMtls } = record(spec);
  return [mtls, ...Object.values(record(portLevelMtls))].some((place) => record(place)['mode'] === 'STRICT');
}
