/** Definitions made from our own schemas: the rules that Kubernetes has for them, and that they say what the schemas say. */
import { describe, expect, it } from 'vitest';
import { customResourceDefinitions, openApi } from '../../src/mesh/crd.ts';
import { parseDuration } from '../../src/mesh/duration.ts';
import { kindOf, KINDS } from '../../src/mesh/parse/istio-schemas.ts';
import { duration, int, later, list, map, number, object, oneOf, string, text } from '../../src/mesh/parse/schema.ts';

interface Version {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly schema: { readonly openAPIV3Schema: Node };
  readonly subresources: unknown;
}

interface Node {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly additionalProperties?: Node;
  readonly [field: string]: unknown;
}

const crds = customResourceDefinitions().map(({ metadata, spec }) => ({ metadata, spec: spec as { group: string; names: { kind: string; shortNames?: string[] }; scope: string; versions: Version[] } }));

/** Every schema in a schema, with where it stands. */
function nodes(node: Node, path = ''): [string, Node][] {
  const below = [...Object.entries(node.properties ?? {}).map(([name, child]): [string, Node] => [`${path}.${name}`, child]), ...(node.items === undefined ? [] : [[`${path}[]`, node.items] as [string, Node]]), ...(node.additionalProperties === undefined ? [] : [[`${path}{}`, node.additionalProperties] as [string, Node]])];
  return [[path, node], ...below.flatMap(([at, child]) => nodes(child, at))];
}

describe('the definitions', () => {
  it('are there for each kind that is honoured', () => {
    const honoured = Object.entries(KINDS).filter(([, { support }]) => support === 'honoured').map(([kind]) => kind);
    expect(crds.map(({ spec }) => kindOf(spec.names.kind, `${spec.group}/v1`).name).sort()).toEqual(honoured.sort());
  });

  it('serve versions that are read, and store the newest', () => {
    for (const { spec } of crds) {
      const read = kindOf(spec.names.kind, `${spec.group}/v1`).kind?.groups ?? [];
      const served = spec.versions.map(({ name }) => `${spec.group}/${name}`);
      expect(served).toEqual(read.filter((apiVersion) => served.includes(apiVersion)));
      expect(served[0]).toBe(`${spec.group}/v1`);
      expect(spec.versions.map(({ storage }) => storage)).toEqual(served.map((_, i) => i === 0));
      expect(spec.versions.every((version) => version.served && version.subresources !== undefined)).toBe(true);
    }
  });

  it('are structural, and keep every field that they do not name', () => {
    for (const { metadata, spec } of crds) {
      for (const [path, node] of nodes(spec.versions[0]?.schema.openAPIV3Schema as Node)) {
        const open = node['x-kubernetes-preserve-unknown-fields'] === true;
        expect(node.type !== undefined || open || node['x-kubernetes-int-or-string'] === true, `${metadata.name} ${path}`).toBe(true);
        if (node.properties !== undefined && path !== '') expect(open, `${metadata.name} ${path}`).toBe(true);
      }
    }
  });

  it('give kubectl no short name twice', () => {
    const names = crds.flatMap(({ spec }) => spec.names.shortNames ?? []);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('a schema', () => {
  it.each([
    ['text', string, { type: 'string' }],
    ['a form', text(/^[a-z]+$/, 'letters'), { type: 'string', pattern: '^[a-z]+$' }],
    ['a port', int(1, 65_535), { type: 'integer', format: 'int32', minimum: 1, maximum: 65_535 }],
    ['a counter', int(), { type: 'integer', format: 'int64', minimum: 0, maximum: 4_294_967_295 }],
    ['a number without end', number(0, Number.MAX_VALUE), { type: 'number', minimum: 0 }],
    ['values of which some have no effect yet', oneOf(['A'], ['B']), { type: 'string', enum: ['A', 'B'] }],
    ['a list', list(string), { type: 'array', items: { type: 'string' } }],
    ['a map', map(string), { type: 'object', additionalProperties: { type: 'string' } }],
    ['a field that is not honoured', later('others decide', string), { type: 'string', description: 'Not honoured yet: others decide.' }],
    ['an object', object({ a: string }, ['a']), { type: 'object', required: ['a'], properties: { a: { type: 'string' } }, 'x-kubernetes-preserve-unknown-fields': true }],
  ])('of %s', (_, schema, expected) => {
    expect(openApi(schema)).toEqual(expected);
  });

  it.each(['10s', '1.5s', '250ms', '1h30m', '0', '', '10', 's', '1d', '-1s', '10 s'])('of a duration takes %j as our own parser does', (written) => {
    const { pattern } = openApi(duration) as { pattern: string };
    expect(new RegExp(pattern).test(written)).toBe(parseDuration(written) !== undefined);
  });
});
