/** AuthorizationPolicies as tests of a request: what the configuration decides is decided here, once. */
import { FIELD_ATTRIBUTES, attributeOf, isHttpOnly } from '../attributes.ts';
import type { Attribute } from '../attributes.ts';
import { objectName } from '../resources.ts';
import type { Action, AuthorizationPolicies, AuthorizationPolicy, AuthorizationRule, ExtAuthzProvider, RequestTest } from '../security.ts';
import type { AuthorizationPolicyResource, Condition, RuleSpec } from '../security-resources.ts';
import { attributeTest } from './attribute-test.ts';
import type { ValueContext } from './attribute-test.ts';

/** Compile the policies that select a workload; `resources` are in order of age. */
export function authorizationOf(resources: readonly AuthorizationPolicyResource[], trustDomains: readonly string[], providers: ReadonlyMap<string, ExtAuthzProvider>): AuthorizationPolicies {
  // Istio asks one provider per workload; it refuses what several would have to decide.
  const named = new Set(resources.flatMap(({ spec }) => (spec.action === 'CUSTOM' ? (spec.provider?.name ?? '') : [])));
  const policies = resources.map((resource) => ({ dryRun: isShadow(resource), policy: policyOf(resource, trustDomains, providers, named.size) }));
  const of = (action: Action): AuthorizationPolicy[] => policies.filter(({ dryRun, policy }) => !dryRun && policy.action === action).map(({ policy }) => policy);
  return Object.freeze({ custom: of('CUSTOM'), audit: of('AUDIT'), deny: of('DENY'), allow: of('ALLOW'), dryRun: policies.filter(({ dryRun }) => dryRun).map(({ policy }) => policy) });
}

/** `istio.io/dry-run` is for ALLOW and DENY; an AUDIT policy decides nothing as it is, and a CUSTOM one would have to be asked. */
export function isShadow({ spec: { action = 'ALLOW' }, dryRun }: AuthorizationPolicyResource): boolean {
  return dryRun && (action === 'ALLOW' || action === 'DENY');
}

function policyOf(resource: AuthorizationPolicyResource, trustDomains: readonly string[], providers: ReadonlyMap<string, ExtAuthzProvider>, named: number): AuthorizationPolicy {
  const { spec, namespace } = resource;
  const { action = 'ALLOW', provider: { name = '' } = {}, rules = [] } = spec;
  const provider = action === 'CUSTOM' && named === 1 ? providers.get(name) : undefined;
  const fault = named > 1 ? 'the workload\'s CUSTOM policies name several providers' : `MeshConfig.extensionProviders has no external authorizer "${name}"`;
  return Object.freeze({
    origin: objectName(resource),
    action,
    provider,
    providerFault: action !== 'CUSTOM' || provider !== undefined ? '' : fault,
    rules: rules.map((rule, index) => ruleOf(rule, index, action, { namespace, trustDomains })),
  });
}

function ruleOf(rule: RuleSpec, index: number, action: Action, context: ValueContext): AuthorizationRule {
  const known = (rule.when ?? []).every(({ key }) => attributeOf(key) !== undefined);
  return Object.freeze({
    index,
    text: textOf(rule),
    http: known ? testOf(rule, context, true, action) : undefined,
    tcp: known ? testOf(rule, context, false, action) : undefined,
  });
}

/**
 * Of an opaque connection what only HTTP has cannot be asked: an ALLOW rule that asks for it never matches, every other rule
 * goes on without that condition. Either way less is allowed, not more.
 */
function testOf(rule: RuleSpec, context: ValueContext, isHttp: boolean, action: Action): RequestTest | undefined {
  const conditions = [
    ...(rule.from === undefined ? [] : [anyOf(rule.from.map(({ source = {} }) => fieldsTest(source, context)))]),
    ...(rule.to === undefined ? [] : [anyOf(rule.to.map(({ operation = {} }) => fieldsTest(operation, context)))]),
    ...(rule.when ?? []).map((condition) => conditionTest(condition, context)),
  ];
  if (isHttp) return allOf(conditions.map(({ http }) => http));
  return action === 'ALLOW' && conditions.some(({ needsHttp }) => needsHttp) ? undefined : allOf(conditions.map(({ tcp }) => tcp));
}

/** A part of a rule, for requests and for opaque connections. */
interface Part {
  readonly http: RequestTest;
  readonly tcp: RequestTest;
  readonly needsHttp: boolean;
}

/** Fields of one source or operation: all of them must hold. */
function fieldsTest(fields: Readonly<Record<string, readonly string[]>>, context: ValueContext): Part {
  return partOf(Object.entries(fields).map(([field, values]) => {
    const negative = field.startsWith('not');
    const name = negative ? `${field.slice(3, 4).toLowerCase()}${field.slice(4)}` : field;
    return { attribute: { name: FIELD_ATTRIBUTES[name] as Attribute['name'], path: [] }, values, negative };
  }), context);
}

function conditionTest({ key, values = [], notValues = [] }: Condition, context: ValueContext): Part {
  const attribute = attributeOf(key);
  if (attribute === undefined) return partOf([], context);
  const wanted = [{ attribute, values, negative: false }, { attribute, values: notValues, negative: true }];
  return partOf(wanted.filter((one) => one.values.length > 0), context);
}

interface Wanted {
  readonly attribute: Attribute;
  readonly values: readonly string[];
  readonly negative: boolean;
}

function partOf(wanted: readonly Wanted[], context: ValueContext): Part {
  const tests = wanted.map(({ attribute, values, negative }) => {
    const test = attributeTest(attribute, values, context);
    return { httpOnly: isHttpOnly(attribute.name), test: negative ? not(test) : test };
  });
  const opaque = tests.filter(({ httpOnly }) => !httpOnly);
  return { http: allOf(tests.map(({ test }) => test)), tcp: allOf(opaque.map(({ test }) => test)), needsHttp: opaque.length < tests.length };
}

function not(test: RequestTest): RequestTest {
  return (request) => !test(request);
}

function anyOf(parts: readonly Part[]): Part {
  return { http: some(parts.map(({ http }) => http)), tcp: some(parts.map(({ tcp }) => tcp)), needsHttp: parts.some(({ needsHttp }) => needsHttp) };
}

function some(tests: readonly RequestTest[]): RequestTest {
  const [only] = tests;
  return only !== undefined && tests.length === 1 ? only : (request) => tests.some((test) => test(request));
}

function allOf(tests: readonly RequestTest[]): RequestTest {
  const [only] = tests;
  return only !== undefined && tests.length === 1 ? only : (request) => tests.every((test) => test(request));
}

/** `from principals=[a, b] or namespaces=[c] to methods=[GET] when request.headers[x]=[y]` */
function textOf({ from, to, when }: RuleSpec): string {
  const parts = [
    ...(from === undefined ? [] : [`from ${from.map(({ source }) => fieldsText(source)).join(' or ')}`]),
    ...(to === undefined ? [] : [`to ${to.map(({ operation }) => fieldsText(operation)).join(' or ')}`]),
    ...(when ?? []).map(({ key, values = [], notValues = [] }) => `when ${[values.length > 0 ? `${key}=[${values.join(', ')}]` : '', notValues.length > 0 ? `${key}≠[${notValues.join(', ')}]` : ''].filter((part) => part !== '').join(' ')}`),
  ];
  return parts.length === 0 ? 'everything' : parts.join(' ');
}

function fieldsText(values: Readonly<Record<string, readonly string[]>> = {}): string {
  return Object.entries(values).map(([field, list]) => `${field}=[${list.join(', ')}]`).join(' ');
}
