/** The objects of an installation: what they are called, and in which order they come and go. */
import type { ApiObject } from '../kube/api-client.ts';
import { record } from '../mesh/parse/json.ts';

export interface Manifest extends ApiObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
}

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
  readonly managedFields?: readonly ManagedFields[];
}

/** Who set which fields of an object (Kubernetes API conventions, "Field management"). */
export interface ManagedFields {
  readonly manager: string;
  readonly operation: string;
  readonly fieldsV1?: Readonly<Record<string, unknown>>;
}

/** On every object of deploy/: what the kustomizations and scripts/crds.ts write. */
export const PART_OF = { label: 'app.kubernetes.io/part-of', value: 'orlop' } as const;

/** Under this name changes are made, so that the API server can tell ours from others'. */
export const FIELD_MANAGER = 'orlop';

/** What others refer to comes first, and what narrows rights before the rights. */
const ORDER: readonly string[] = [
  'Namespace', 'CustomResourceDefinition', 'ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding', 'PriorityClass', 'ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding',
  'ConfigMap', 'Secret', 'Service', 'PodDisruptionBudget', 'NetworkPolicy', 'GatewayClass', 'Deployment', 'DaemonSet',
];
/** What stands in the way of others when the program behind it has gone. */
const LAST: readonly string[] = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];

/** As they are to be made; removed they are in the opposite order. */
export function inOrder(manifests: readonly Manifest[]): Manifest[] {
  return [...manifests].sort((a, b) => rank(a.kind) - rank(b.kind));
}

function rank(kind: string): number {
  if (LAST.includes(kind)) return ORDER.length + 1;
  const known = ORDER.indexOf(kind);
  // Kinds of operators, such as PodMonitor, need nothing and are needed by nothing.
  return known < 0 ? ORDER.length : known;
}

/** `DaemonSet orlop-system/orlop-agent` */
export function nameOf({ kind, metadata: { namespace, name } }: Pick<Manifest, 'kind' | 'metadata'>): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

export function sameObject(a: Manifest, b: Manifest): boolean {
  return groupOf(a.apiVersion) === groupOf(b.apiVersion) && nameOf(a) === nameOf(b);
}

/** `networking.istio.io` of `networking.istio.io/v1`; empty for the core. */
export function groupOf(apiVersion: string): string {
  return apiVersion.includes('/') ? (apiVersion.split('/')[0] as string) : '';
}

/** What control plane and agents make while they run: Services of Gateways, and where these lead. */
export const MADE_LATER: readonly { readonly apiVersion: string; readonly kind: string; readonly label: string }[] = [
  { apiVersion: 'v1', kind: 'Service', label: 'app.kubernetes.io/managed-by' },
  { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', label: 'endpointslice.kubernetes.io/managed-by' },
];

/** Is it marked as Orlop's? */
export function isPart({ kind, metadata: { labels = {} } }: Manifest): boolean {
  const marks = [PART_OF.label, ...MADE_LATER.filter((made) => made.kind === kind).map(({ label }) => label)];
  return marks.some((label) => labels[label] === PART_OF.value);
}

/** Has `part` (`f:spec`) been set by us alone? Whatever another has a hand in is no longer ours to take away. */
export function isManagedByUsAlone(object: Manifest, part: string): boolean {
  const managers = managersOf(object, part);
  return managers.length > 0 && managers.every((manager) => manager === FIELD_MANAGER);
}

/** Who has set the field at `path` (`f:status`, `f:conditions`), or anything in it. */
export function managersOf({ metadata: { managedFields = [] } }: Manifest, ...path: readonly string[]): string[] {
  return managedFields.filter(({ fieldsV1 = {} }) => path.reduce<unknown>((fields, name) => (fields === undefined ? undefined : record(fields)[name]), fieldsV1) !== undefined).map(({ manager }) => manager);
}
