/**
 * CustomResourceDefinitions of the kinds that are honoured, made from the schemas that `config check` and the agents use. They are for clusters
 * where the kinds' own definitions are not installed. Fields that no schema names are kept by the API server, so that nothing is lost when
 * the others' definitions come later.
 */
import { DEFINITIONS } from './crd-kinds.ts';
import type { Definition } from './crd-kinds.ts';
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

/** Marks a definition as installed by Orlop: what `orlop uninstall` may remove. */
export const CRD_LABELS: Readonly<Record<string, string>> = { 'app.kubernetes.io/part-of': 'orlop', 'app.kubernetes.io/component': 'crds' };

/** Kubernetes wants it said of every definition in its own groups (github.com/kubernetes/enhancements, KEP 1111). */
const APPROVED = 'api-approved.kubernetes.io';
const NOT_APPROVED = 'unapproved, made by Orlop of the fields that it honours, for clusters without the definitions of the Gateway API project';

const ANYTHING: Plain = { 'x-kubernetes-preserve-unknown-fields': true };

/** Every definition, in the order of the table. */
export function customResourceDefinitions(): Crd[] {
  return DEFINITIONS.map(definitionOf);
}

function definitionOf({ kind, group, versions, plural, shortNames, columns, description }: Definition): Crd {
  const { groups, schema, clusterScoped = false } = kindOf(kind, `${group}/v1`).kind as Kind;
  const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), ...(shortNames.length > 0 && { shortNames }), categories: categoriesOf(group) };
  const served = versions ?? groups.filter((apiVersion) => apiVersion.startsWith(`${group}/`)).map((apiVersion) => apiVersion.slice(group.length + 1));
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
    metadata: { name: `${plural}.${group}`, labels: CRD_LABELS, ...(group.endsWith('.k8s.io') && { annotations: { [APPROVED]: NOT_APPROVED } }) },
    spec: {
      group, names, scope: clusterScoped ? 'Cluster' : 'Namespaced',
      // The newest is what is stored. The schema is the same object in each: YAML writes it once.
      versions: served.map((name, i) => ({ name, served: true, storage: i === 0, schema: validation, subresources: { status: {} }, additionalPrinterColumns })),
    },
  };
}

/** As with the kinds' own definitions: `kubectl get istio-io,gateway-api -A` shows all there is. */
function categoriesOf(group: string): string[] {
  return group.endsWith('.istio.io') ? ['istio-io', `${group.split('.')[0] ?? ''}-istio-io`] : ['gateway-api'];
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
