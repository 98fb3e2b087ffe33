/**
 * CustomResourceDefinitions of the kinds that are honoured, made from the schemas that `config check` and the agents use. They are for clusters
 * where the kinds' own definitions are not installed. Fields that no schema names are kept by the API server, so that nothing is lost when
 * the others' definitions come later.
 */
import { kindOf } from './parse/istio-schemas.ts';
import type { Kind } from './parse/istio-schemas.ts';
import type { Schema } from './parse/schema.ts';

type Plain = Readonly<Record<string, unknown>>;

export interface Crd {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: Plain;
}

/** What `kubectl get` shows besides name and age. */
type Columns = Readonly<Record<string, string>>;

interface Definition {
  readonly kind: string;
  readonly group: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly columns: Columns;
  readonly description: string;
}

/** Marks a definition as installed by Orlop: what `orlop uninstall` may remove. */
export const CRD_LABELS: Readonly<Record<string, string>> = { 'app.kubernetes.io/part-of': 'orlop', 'app.kubernetes.io/component': 'crds' };

const ANYTHING: Plain = { 'x-kubernetes-preserve-unknown-fields': true };

const NETWORKING = 'networking.istio.io';
const SECURITY = 'security.istio.io';

/** Names and short names are those of Istio's definitions, or `kubectl get vs` would change its meaning with who installed them. */
const DEFINITIONS: readonly Definition[] = [
  {
    kind: 'VirtualService', group: NETWORKING, plural: 'virtualservices', shortNames: ['vs'], columns: { Gateways: '.spec.gateways', Hosts: '.spec.hosts' },
    description: 'Where requests for a host go: by path, header and caller, in shares, with time-outs, retries, faults and copies.',
  },
  {
    kind: 'DestinationRule', group: NETWORKING, plural: 'destinationrules', shortNames: ['dr'], columns: { Host: '.spec.host' },
    description: 'How the endpoints of a host are used: subsets, balancing, limits of connections, ejection, TLS.',
  },
  {
    kind: 'Gateway', group: NETWORKING, plural: 'gateways', shortNames: ['gw'], columns: {},
    description: 'Ports on which traffic from outside the mesh is taken in.',
  },
  {
    kind: 'ServiceEntry', group: NETWORKING, plural: 'serviceentries', shortNames: ['se'], columns: { Hosts: '.spec.hosts', Location: '.spec.location', Resolution: '.spec.resolution' },
    description: 'A host that is no Service of the cluster, as a member of the registry.',
  },
  {
    kind: 'WorkloadEntry', group: NETWORKING, plural: 'workloadentries', shortNames: ['we'], columns: { Address: '.spec.address' },
    description: 'An endpoint that is no pod.',
  },
  {
    kind: 'PeerAuthentication', group: SECURITY, plural: 'peerauthentications', shortNames: ['pa'], columns: { Mode: '.spec.mtls.mode' },
    description: 'Whether workloads take plaintext from their callers, or mutual TLS only.',
  },
  {
    kind: 'RequestAuthentication', group: SECURITY, plural: 'requestauthentications', shortNames: ['ra'], columns: {},
    description: 'Whose tokens workloads accept in requests.',
  },
  {
    kind: 'AuthorizationPolicy', group: SECURITY, plural: 'authorizationpolicies', shortNames: ['ap'], columns: { Action: '.spec.action' },
    description: 'Who may call workloads, by identity, address, path, token and more.',
  },
];

/** Every definition, in the order of the table. */
export function customResourceDefinitions(): Crd[] {
  return DEFINITIONS.map(definitionOf);
}

function definitionOf({ kind, group, plural, shortNames, columns, description }: Definition): Crd {
  const { groups, schema, clusterScoped = false } = kindOf(kind, `${group}/v1`).kind as Kind;
  const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames, categories: ['istio-io', `${group.split('.')[0] ?? ''}-istio-io`] };
  const served = groups.filter((apiVersion) => apiVersion.startsWith(`${group}/`)).map((apiVersion) => apiVersion.slice(group.length + 1));
  const validation = {
    openAPIV3Schema: {
      type: 'object', description,
      properties: {
        apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { type: 'object' },
        spec: schema === undefined ? ANYTHING : openApi(schema),
        status: { type: 'object', description: 'What agents and control plane say about it.', ...ANYTHING },
      },
    },
  };
  const additionalPrinterColumns = [
    ...Object.entries(columns).map(([name, jsonPath]) => ({ name, type: 'string', jsonPath })),
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ];
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}`, labels: CRD_LABELS },
    spec: {
      group, names, scope: clusterScoped ? 'Cluster' : 'Namespaced',
      // The newest is what is stored. The schema is the same object in each: YAML writes it once.
      versions: served.map((name, i) => ({ name, served: true, storage: i === 0, schema: validation, subresources: { status: {} }, additionalPrinterColumns })),
    },
  };
}

/** As {@link parseDuration} reads it. */
const DURATION = String.raw`^(\d+(\.\d+)?(ms|us|ns|h|m|s))+$|^0$`;

/** The structural schema of the API server that refuses what `check` refuses, as far as it can say it: it knows no RE2, and keeps unknown fields. */
export function openApi(schema: Schema): Plain {
  switch (schema.type) {
    case 'any':
      return ANYTHING;
    case 'later':
      return { description: `Not honoured yet: ${schema.effect}.`, ...openApi(schema.of) };
    case 'string':
    case 'regex':
    case 'regexOrStar':
      return { type: 'string' };
    case 'duration':
      return { type: 'string', pattern: DURATION };
    case 'text':
      return { type: 'string', pattern: schema.form.source };
    case 'stringOrNumber':
      return { 'x-kubernetes-int-or-string': true };
    case 'boolean':
      return { type: 'boolean' };
    case 'number':
      return numeric(schema);
    case 'enum':
      return { type: 'string', enum: [...schema.values, ...schema.notYet] };
    case 'list':
      return { type: 'array', items: openApi(schema.of) };
    case 'map':
      return { type: 'object', additionalProperties: openApi(schema.of) };
    case 'object':
      return {
        type: 'object',
        ...(schema.required.length > 0 && { required: schema.required }),
        properties: Object.fromEntries(Object.entries(schema.fields).map(([name, field]) => [name, openApi(field)])),
        ...ANYTHING,
      };
  }
}

function numeric({ min, max, whole }: Extract<Schema, { type: 'number' }>): Plain {
  const bounds = { minimum: min, ...(max < Number.MAX_VALUE && { maximum: max }) };
  return whole ? { type: 'integer', format: max < 2 ** 31 ? 'int32' : 'int64', ...bounds } : { type: 'number', ...bounds };
}
