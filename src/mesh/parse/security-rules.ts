/** Rules between the fields of one security resource (Istio's admission validation), and what its author should know. */
import { FIELD_ATTRIBUTES, attributeOf, isFromToken, isHttpOnly } from '../attributes.ts';
import type { AttributeName } from '../attributes.ts';
import { parseDuration } from '../duration.ts';
import { templateFault } from '../path-template.ts';
import type { AuthorizationPolicySpec, Condition, JwtRuleSpec, PeerAuthenticationSpec, RequestAuthenticationSpec, RuleSpec, Selection } from '../security-resources.ts';
import { isNetwork } from './address.ts';
import type { Path } from './document.ts';
import type { Report } from './schema.ts';
import { negated, OPERATION_FIELDS, SOURCE_FIELDS } from './security-schemas.ts';

export function checkPeerAuthentication(spec: PeerAuthenticationSpec, report: Report): void {
  checkSelection(spec, report);
  const { portLevelMtls } = spec;
  if (portLevelMtls === undefined) return;
  const path = ['spec', 'portLevelMtls'];
  const ports = Object.keys(portLevelMtls);
  if (Object.keys(spec.selector?.matchLabels ?? {}).length === 0) report.error(path, 'portLevelMtls needs a selector', 'select the workloads whose ports these are');
  if (ports.length === 0) report.error(path, 'portLevelMtls names no port', 'name a port, or remove it');
  for (const port of ports) if (!isPort(port)) report.error([...path, port], `"${port}" is no port`, 'write the number of a container port, 1 to 65535');
}

export function checkRequestAuthentication(spec: RequestAuthenticationSpec, report: Report): void {
  checkSelection(spec, report);
  for (const [i, rule] of (spec.jwtRules ?? []).entries()) checkJwtRule(rule, ['spec', 'jwtRules', i], report);
}

function checkJwtRule(rule: JwtRuleSpec, path: Path, report: Report): void {
  const uri = rule.jwksUri ?? rule.jwks_uri ?? '';
  if ((rule.issuer ?? '') === '' && uri === '' && (rule.jwks ?? '') === '') report.error(path, 'there is neither issuer, jwksUri nor jwks', 'name the issuer of the tokens');
  if (uri !== '' && (rule.jwks ?? '') !== '') report.error(path, 'jwksUri and jwks exclude each other', 'keep one of them');
  if (uri !== '' && !isHttpUrl(uri)) report.error([...path, 'jwksUri'], `"${uri}" is no http or https URL`, 'write https://host/path');
  if ((rule.jwks ?? '') !== '' && !isKeySet(rule.jwks ?? '')) report.error([...path, 'jwks'], 'this is no JSON Web Key Set', 'write {"keys": [ … ]} (RFC 7517 §5)');
  if (rule.timeout !== undefined && (parseDuration(rule.timeout) ?? 1) < 1) report.error([...path, 'timeout'], 'shorter than 1 ms', 'use 1ms or more');
}

export function checkAuthorizationPolicy(spec: AuthorizationPolicySpec, report: Report): void {
  checkSelection(spec, report);
  const { action = 'ALLOW', provider, rules } = spec;
  if (action === 'CUSTOM' && (provider?.name ?? '') === '') report.error(['spec'], 'action CUSTOM needs a provider', 'add provider.name, as in MeshConfig.extensionProviders');
  if (action !== 'CUSTOM' && provider !== undefined) report.error(['spec', 'provider'], 'only action CUSTOM has a provider', 'remove it, or set action CUSTOM');
  if (action !== 'ALLOW' && (rules ?? []).length === 0) report.error(['spec'], `a policy of action ${action} without rules does nothing`, 'add rules; [{}] is a rule that takes everything');
  for (const [i, rule] of (rules ?? []).entries()) checkRule(rule, action, ['spec', 'rules', i], report);
}

function checkRule(rule: RuleSpec, action: string, path: Path, report: Report): void {
  if (rule.from?.length === 0) report.error([...path, 'from'], 'from is empty', 'remove it for any source, or name sources');
  if (rule.to?.length === 0) report.error([...path, 'to'], 'to is empty', 'remove it for any operation, or name operations');
  if (rule.when?.length === 0) report.error([...path, 'when'], 'when is empty', 'remove it, or name conditions');
  const used: Use[] = [];
  for (const [i, { source }] of (rule.from ?? []).entries()) {
    const at = [...path, 'from', i];
    if (source === undefined || Object.keys(source).length === 0) report.error(at, 'the source is empty', 'say who, or remove from for any source');
    else used.push(...checkFields(source, SOURCE_FIELDS, [...at, 'source'], report));
    if (source !== undefined && has(source, 'serviceAccounts') && (has(source, 'principals') || has(source, 'namespaces'))) {
      report.error([...at, 'source'], 'serviceAccounts excludes principals and namespaces', 'keep serviceAccounts, which names the namespace, or the others');
    }
  }
  for (const [i, { operation }] of (rule.to ?? []).entries()) {
    const at = [...path, 'to', i];
    if (operation === undefined || Object.keys(operation).length === 0) report.error(at, 'the operation is empty', 'say what, or remove to for any operation');
    else used.push(...checkFields(operation, OPERATION_FIELDS, [...at, 'operation'], report));
  }
  for (const [i, condition] of (rule.when ?? []).entries()) used.push(...checkCondition(condition, action, [...path, 'when', i], report));
  checkUses(used, rule, action, path, report);
}

function has(fields: Readonly<Record<string, readonly string[]>>, field: string): boolean {
  return fields[field] !== undefined || fields[negated(field)] !== undefined;
}

/** An attribute that a rule asks for, and where. */
interface Use {
  readonly name: AttributeName;
  readonly path: Path;
}

function checkFields(values: Readonly<Record<string, readonly string[]>>, fields: readonly string[], path: Path, report: Report): Use[] {
  return fields.flatMap((field) => {
    const name = FIELD_ATTRIBUTES[field] as AttributeName;
    return [field, negated(field)].flatMap((key) => {
      const wanted = values[key];
      if (wanted === undefined) return [];
      if (wanted.length === 0) report.error([...path, key], `${key} is empty`, 'remove it, or give it values');
      checkValues(name, wanted, [...path, key], report);
      return [{ name, path: [...path, key] }];
    });
  });
}

function checkCondition({ key, values = [], notValues = [] }: Condition, action: string, path: Path, report: Report): Use[] {
  if (values.length + notValues.length === 0) report.error(path, 'there are neither values nor notValues', 'give it values');
  const attribute = attributeOf(key);
  if (attribute === undefined) {
    const effect = action === 'ALLOW' ? 'the rule never allows anything' : `the rule is skipped: nothing is decided by it`;
    report.warning([...path, 'key'], `"${key}" is no attribute that is known here; ${effect}`, 'use one of the keys that Istio documents for conditions of AuthorizationPolicy', 'ORLOP017');
    return [];
  }
  checkValues(attribute.name, values, [...path, 'values'], report);
  checkValues(attribute.name, notValues, [...path, 'notValues'], report);
  return [{ name: attribute.name, path: [...path, 'key'] }];
}

function checkValues(name: AttributeName, values: readonly string[], path: Path, report: Report): void {
  for (const [i, value] of values.entries()) {
    const at = [...path, i];
    if (name.endsWith('.ip')) {
      if (!isNetwork(value)) report.error(at, `"${value}" is neither an IP address nor a network`, 'write 10.0.0.1 or 10.0.0.0/8');
    } else if (name === 'destination.port') {
      if (!isPort(value)) report.error(at, `"${value}" is no port`, 'write a number from 1 to 65535, in quotes');
    } else if (name === 'source.serviceAccount') {
      if (!/^[^/*]+(\/[^/*]+)?$/.test(value)) report.error(at, `"${value}" is no service account`, 'write namespace/name, or name; there are no wildcards');
    } else if (name === 'source.principal' && value.startsWith('spiffe://')) {
      report.warning(at, 'principals are written without spiffe://, so this one matches nobody', `write ${value.slice('spiffe://'.length)}`, 'ORLOP018');
    } else if (name === 'request.path') {
      const fault = templateFault(value);
      if (fault !== undefined) report.error(at, `"${value}": ${fault}`, 'use {*} for one segment, {**} for any number, and no other braces');
    }
    checkWildcard(name, value, at, report);
  }
}

/** A star in the middle is a letter like any other to Istio, which is seldom what was meant. */
function checkWildcard(name: AttributeName, value: string, path: Path, report: Report): void {
  if (name === 'source.serviceAccount' || name.endsWith('.ip') || (name === 'request.path' && value.includes('{'))) return;
  if (value.slice(1, -1).includes('*') || (value.length > 1 && value.startsWith('*') && value.endsWith('*'))) {
    report.warning(path, `"${value}": a star is a wildcard at one end only, elsewhere it stands for itself`, 'use *suffix, prefix* or *', 'ORLOP019');
  }
}

/** What rules do of which a condition is ignored: more than was meant. */
const WIDER: Readonly<Record<string, string>> = { DENY: 'denies', AUDIT: 'audits', CUSTOM: 'asks its provider about' };

/** What the rule becomes for opaque connections, and what CUSTOM may not ask. */
function checkUses(used: readonly Use[], rule: RuleSpec, action: string, path: Path, report: Report): void {
  const early = action === 'CUSTOM' ? used.filter(({ name }) => isFromToken(name)) : [];
  for (const use of early) report.error(use.path, 'action CUSTOM comes before tokens are read, and cannot ask for what they prove', 'ask for it in a policy of another action');
  const verb = WIDER[action];
  if (verb === undefined || early.length > 0) return;
  const ignored = used.find(({ name }) => isHttpOnly(name));
  // With a port the author has said which traffic is meant.
  if (ignored === undefined || used.some(({ name }) => name === 'destination.port')) return;
  const rest = used.some(({ name }) => !isHttpOnly(name)) ? 'whatever else it matches' : 'all of them';
  report.warning(rule.to === undefined ? path : ignored.path, `only HTTP has this attribute; on TCP ports of the workload it is ignored, so the rule ${verb} ${rest}`, 'name the HTTP ports in operation.ports', 'IST0167');
}

function checkSelection(spec: Selection, report: Report): void {
  const { selector, targetRef, targetRefs } = spec;
  const given = (['selector', 'targetRef', 'targetRefs'] as const).filter((field) => spec[field] !== undefined);
  if (given.length > 1) report.error(['spec', given[1] as string], `${given.join(' and ')} exclude each other`, 'keep one of them');
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    if (key === '' || key.includes('*') || value.includes('*')) report.error(['spec', 'selector', 'matchLabels', key], 'a selector has no wildcards', 'name the exact value of the label');
  }
  const refs: [typeof targetRef, Path][] = [[targetRef, ['spec', 'targetRef']], ...(targetRefs ?? []).map((ref, i): [typeof targetRef, Path] => [ref, ['spec', 'targetRefs', i]])];
  for (const [ref, path] of refs) {
    if (ref === undefined) continue;
    if ((ref.namespace ?? '') !== '') report.error([...path, 'namespace'], 'a target is in the namespace of the resource', 'remove namespace');
    if (ref.kind !== 'Service' && ref.kind !== 'Gateway') report.warning(path, `targets of kind ${ref.kind} are not honoured yet: nothing is selected by this one`, 'use a selector, or a target of kind Gateway or Service; a Service stands for the workloads behind it', 'ORLOP012');
  }
}

function isPort(text: string): boolean {
  return /^[0-9]{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535;
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\/[^/\s\\]/.test(text) && URL.canParse(text);
}

function isKeySet(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && Array.isArray((value as { keys?: unknown }).keys);
  } catch {
    return false;
  }
}
