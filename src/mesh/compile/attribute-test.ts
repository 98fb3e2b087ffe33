/** One attribute with the values it may have, as a function of the request. */
import { parseSpiffeId } from '../../core/spiffe.ts';
import type { SpiffeId } from '../../core/spiffe.ts';
import type { Attribute } from '../attributes.ts';
import { hostOf } from '../host.ts';
import { isTemplate, templateTest } from '../path-template.ts';
import type { Authentication, RequestTest } from '../security.ts';
import { addressSet } from './address-set.ts';
import { anyValue } from './text-test.ts';
import type { TextTest } from './text-test.ts';

/** What values mean depends on whose policy it is. */
export interface ValueContext {
  /** Of the policy. */
  readonly namespace: string;
  /** The mesh's own trust domain, then those that mean the same. */
  readonly trustDomains: readonly string[];
}

/** Does the request's attribute match one of `values`? Without the attribute it does not, whatever the values. */
export function attributeTest({ name, path }: Attribute, values: readonly string[], context: ValueContext): RequestTest {
  switch (name) {
    case 'source.principal':
      return ofIdentity(anyValue(withAliases(values, context.trustDomains)));
    case 'source.namespace':
      return ofId(anyValue(values), ({ namespace }) => namespace);
    case 'source.trustDomain':
      return ofId(anyValue(values), ({ trustDomain }) => trustDomain);
    case 'source.serviceAccount':
      return ofId(anyValue(values.map((value) => (value.includes('/') ? value : `${context.namespace}/${value}`))), ({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`);
    case 'source.ip':
      return ofAddress(addressSet(values), 'sourceAddress');
    case 'remote.ip':
      return ofAddress(addressSet(values), 'remoteAddress');
    case 'destination.ip':
      return ofAddress(addressSet(values), 'destinationAddress');
    case 'destination.port':
      return ofPort(new Set(values.map(Number)));
    case 'connection.sni':
      return ofServerName(anyValue(values));
    case 'request.host':
      return ofHost(anyValue(values.map((value) => value.toLowerCase())));
    case 'request.method':
      return ofMethod(anyValue(values));
    case 'request.path':
      return ofPath(pathTest(values));
    case 'request.headers':
      return ofHeader(path[0] ?? '', anyValue(values));
    case 'request.auth.principal':
      return ofAuthentication(principalTest(values));
    case 'request.auth.audiences':
      return ofAudiences(anyValue(values));
    case 'request.auth.presenter':
      return ofPresenter(anyValue(values));
    case 'request.auth.claims':
      return ofClaim(path, anyValue(values));
  }
}

/**
 * A principal of the mesh's own trust domain is meant under each of its names, so that a mesh can be renamed; `cluster.local`
 * is the mesh's own, whatever its name.
 */
function withAliases(principals: readonly string[], trustDomains: readonly string[]): string[] {
  const own = new Set(['cluster.local', ...trustDomains]);
  return principals.flatMap((principal) => {
    const slash = principal.indexOf('/');
    const domain = slash < 0 ? '' : principal.slice(0, slash);
    const isOwn = domain.startsWith('*') ? domain.length > 1 && [...own].some((name) => name.endsWith(domain.slice(1))) : own.has(domain);
    return isOwn ? trustDomains.map((name) => `${name}${principal.slice(slash)}`) : [principal];
  });
}

const SCHEME_LENGTH = 'spiffe://'.length;

function ofIdentity(test: TextTest): RequestTest {
  return ({ identity }) => identity !== '' && test(identity.slice(SCHEME_LENGTH));
}

const IDS_MAX = 4096;
const ids = new Map<string, SpiffeId | undefined>();

/** Identities of peers are few and come with every request. */
function idOf(identity: string): SpiffeId | undefined {
  if (identity === '') return undefined;
  if (ids.has(identity)) return ids.get(identity);
  if (ids.size >= IDS_MAX) ids.clear();
  const id = parseSpiffeId(identity);
  ids.set(identity, id);
  return id;
}

function ofId(test: TextTest, read: (id: SpiffeId) => string): RequestTest {
  return ({ identity }) => {
    const id = idOf(identity);
    return id !== undefined && test(read(id));
  };
}

function ofAddress(test: TextTest, field: 'sourceAddress' | 'remoteAddress' | 'destinationAddress'): RequestTest {
  return (request) => test(request[field]);
}

function ofPort(ports: ReadonlySet<number>): RequestTest {
  return ({ destinationPort }) => ports.has(destinationPort);
}

function ofServerName(test: TextTest): RequestTest {
  return ({ sni }) => test(sni);
}

/** A port in the Host header is no way round a rule that names the host, nor is another case or a final dot. */
function ofHost(test: TextTest): RequestTest {
  return ({ http }) => http !== undefined && (test(http.authority.toLowerCase()) || test(hostOf(http.authority)));
}

function ofMethod(test: TextTest): RequestTest {
  return ({ http }) => http !== undefined && test(http.method);
}

function ofPath(test: TextTest): RequestTest {
  return ({ http }) => http !== undefined && test(http.path);
}

function pathTest(values: readonly string[]): TextTest {
  const templates = values.filter(isTemplate).map(templateTest);
  const plain = anyValue(values.filter((value) => !isTemplate(value)));
  return templates.length === 0 ? plain : (path) => plain(path) || templates.some((test) => test(path));
}

function ofHeader(name: string, test: TextTest): RequestTest {
  return ({ http }) => {
    const value = http?.header(name);
    return value !== undefined && test(value);
  };
}

function ofAuthentication(test: (authentication: Authentication) => boolean): RequestTest {
  return ({ authentication }) => authentication !== undefined && test(authentication);
}

/**
 * `issuer/subject`, both of which may hold slashes: a pattern is split at its last one, and each half asked of its own claim, so
 * that no issuer can sign for another by a subject that looks like the rest of its name.
 */
function principalTest(values: readonly string[]): (authentication: Authentication) => boolean {
  const tests = values.map((value) => {
    const slash = value.lastIndexOf('/');
    if (slash >= 0) return bothTest(anyValue([value.slice(0, slash)]), anyValue([value.slice(slash + 1)]));
    // Without a slash only a wildcard can mean a pair: it is the beginning of the issuer, or the end of the subject.
    if (value.endsWith('*')) return bothTest(anyValue([value]), anyValue(['*']));
    return value.startsWith('*') ? bothTest(anyValue(['*']), anyValue([value])) : () => false;
  });
  return (authentication) => authentication.requestPrincipal !== '' && tests.some((test) => test(authentication));
}

function bothTest(issuer: TextTest, subject: TextTest): (authentication: Authentication) => boolean {
  return ({ claims: { iss, sub } }) => typeof iss === 'string' && typeof sub === 'string' && issuer(iss) && subject(sub);
}

function ofAudiences(test: TextTest): RequestTest {
  return ({ authentication }) => authentication?.audiences.some(test) === true;
}

function ofPresenter(test: TextTest): RequestTest {
  return ({ authentication }) => authentication !== undefined && test(authentication.presenter);
}

/** A claim that is a list matches by any of its items. Only text matches, as in Istio. */
function ofClaim(path: readonly string[], test: TextTest): RequestTest {
  return ({ authentication }) => {
    let value: unknown = authentication?.claims;
    for (const step of path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, step)) return false;
      value = (value as Readonly<Record<string, unknown>>)[step];
    }
    if (typeof value === 'string') return test(value);
    return Array.isArray(value) && value.some((item) => typeof item === 'string' && test(item));
  };
}
