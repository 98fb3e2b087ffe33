/**
 * Who takes part in the mesh. The word of a pod wins over that of its namespace, and in one object Orlop's own word, `orlop.io/mesh`, over
 * Istio's, `istio.io/dataplane-mode` (istio.io/docs/reference/config/labels); so a namespace that is labelled for Istio can be taken over, or
 * kept out, without changing its labels.
 */
import type { Workload } from '../snapshot.ts';
import type { Path } from './document.ts';
import { record, text } from './json.ts';
import type { Json } from './json.ts';

const MESH = 'orlop.io/mesh';
const DATAPLANE_MODE = 'istio.io/dataplane-mode';
/** Written by Istio's node agent on pods that it has captured (istio.io/docs/reference/config/annotations). */
const CAPTURED_BY_ISTIO = 'ambient.istio.io/redirection';

interface Wish {
  readonly enabled: boolean;
  /** `annotation orlop.io/mesh: enabled` */
  readonly by: string;
}

/** What it takes to decide about a pod. */
export interface Candidate {
  readonly meta: Json;
  readonly hostNetwork: boolean;
  readonly namespaceName: string;
  /** Undefined: the namespace is not known. */
  readonly namespace: Json | undefined;
  /** Is Istio's label understood (MeshConfig.istioDataplaneMode)? */
  readonly istioLabels: boolean;
}

/** A pod that has asked can still be one that cannot be enrolled; `enrolReason` says why, for people. */
export function enrolmentOf(candidate: Candidate): Pick<Workload, 'asked' | 'enrolled' | 'enrolReason'> {
  const { asked, reason } = answerOf(candidate);
  const obstacle = asked ? obstacleOf(candidate) : undefined;
  return { asked, enrolled: asked && obstacle === undefined, enrolReason: obstacle ?? reason };
}

/**
 * A value that is none of those understood is a mistake worth an error: the pod would silently stay outside. It costs the pod nothing
 * else: it is still an endpoint of its Services.
 */
export function checkMeshWish(meta: Json, report: (path: Path, message: string, remedy: string) => void): void {
  for (const place of ['annotations', 'labels']) {
    const value = wordOf(meta, place, MESH);
    if (value !== undefined && value !== 'enabled' && value !== 'disabled') report(['metadata', place, MESH], `"${value}" is neither enabled nor disabled`, 'write enabled or disabled; until then it is as if it were not there');
  }
  const mode = wordOf(meta, 'labels', DATAPLANE_MODE);
  if (mode !== undefined && mode !== 'ambient' && mode !== 'none') report(['metadata', 'labels', DATAPLANE_MODE], `"${mode}" is neither ambient nor none`, 'write ambient or none; until then it is as if it were not there');
}

function answerOf({ meta, namespace, namespaceName, istioLabels }: Candidate): { readonly asked: boolean; readonly reason: string } {
  const own = wishOf(meta, istioLabels);
  if (own !== undefined) return { asked: own.enabled, reason: `its ${own.by}` };
  const namespaceMeta = record(namespace?.['metadata']);
  const inherited = wishOf(namespaceMeta, istioLabels);
  if (inherited !== undefined) return { asked: inherited.enabled, reason: `${inherited.by} of namespace ${namespaceName}` };
  const ignored = [meta, namespaceMeta].some((one) => wordOf(one, 'labels', DATAPLANE_MODE) === 'ambient');
  const neither = `neither it nor namespace ${namespaceName} has ${MESH}: enabled`;
  return { asked: false, reason: ignored && !istioLabels ? `${neither}; the label ${DATAPLANE_MODE} is ignored, as ConfigMap istio says` : neither };
}

function wishOf(meta: Json, istioLabels: boolean): Wish | undefined {
  for (const place of ['annotations', 'labels']) {
    const value = wordOf(meta, place, MESH);
    if (value === 'enabled' || value === 'disabled') return { enabled: value === 'enabled', by: `${place === 'labels' ? 'label' : 'annotation'} ${MESH}: ${value}` };
  }
  const mode = wordOf(meta, 'labels', DATAPLANE_MODE);
  return istioLabels && (mode === 'ambient' || mode === 'none') ? { enabled: mode === 'ambient', by: `label ${DATAPLANE_MODE}: ${mode}` } : undefined;
}

function obstacleOf({ meta, hostNetwork }: Candidate): string | undefined {
  if (hostNetwork) return 'it uses the host network, which it shares with others';
  if (wordOf(meta, 'annotations', CAPTURED_BY_ISTIO) !== 'enabled') return undefined;
  return `Istio has captured it (annotation ${CAPTURED_BY_ISTIO}: enabled), and two meshes cannot; take it out of Istio's ambient mode first`;
}

function wordOf(meta: Json, place: string, key: string): string | undefined {
  const value = record(meta[place])[key];
  return value === undefined ? undefined : text(value);
}
