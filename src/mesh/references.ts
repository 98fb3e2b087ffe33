/** What a rule names must exist: hosts, subsets, gateways. Checked over the whole snapshot, because it may stand in any file. */
import { fieldName } from './field-name.ts';
import { isExported } from './compile/registry.ts';
import { covers, qualify } from './host.ts';
import type { Path } from './parse/document.ts';
import type { Problem } from './problem.ts';
import { objectName } from './resources.ts';
import type { DestinationRuleSpec, HostDestination, HttpRoute, Origin, Resource, VirtualServiceSpec } from './resources.ts';
import type { Snapshot } from './snapshot.ts';

export interface References {
  readonly problems: Problem[];
  /** Objects (`kind ns/name`) that name something that does not exist. */
  readonly keys: ReadonlySet<string>;
}

/** `lineOf` finds the line of a field of an object, by its key. */
export function referenceProblems(snapshot: Snapshot, lineOf: (key: string, path: Path) => number): References {
  const checker = new Checker(snapshot, lineOf);
  for (const rule of snapshot.virtualServices) checker.check(rule);
  for (const rule of snapshot.destinationRules) checker.checkPolicy(rule);
  return { problems: checker.problems, keys: checker.keys };
}

class Checker {
  readonly problems: Problem[] = [];
  readonly keys = new Set<string>();
  readonly #lineOf: (key: string, path: Path) => number;
  readonly #hosts: Set<string>;
  readonly #wildHosts: string[];
  readonly #subsets = new Map<string, Set<string>>();
  readonly #gateways: Set<string>;
  readonly #delegates: Map<string, Resource<VirtualServiceSpec>>;

  constructor(snapshot: Snapshot, lineOf: (key: string, path: Path) => number) {
    this.#lineOf = lineOf;
    const entryHosts = snapshot.serviceEntries.flatMap(({ spec }) => spec.hosts.map((host) => host.toLowerCase()));
    this.#hosts = new Set([...snapshot.services.map(({ host }) => host), ...entryHosts]);
    this.#wildHosts = entryHosts.filter((host) => host.startsWith('*'));
    for (const rule of snapshot.destinationRules) {
      const host = qualify(rule.spec.host, rule.namespace);
      const names = this.#subsets.get(host) ?? new Set();
      for (const { name } of rule.spec.subsets ?? []) names.add(name);
      this.#subsets.set(host, names);
    }
    this.#gateways = new Set(snapshot.istioGateways.map(({ namespace, name }) => `${namespace}/${name}`));
    this.#delegates = new Map(snapshot.virtualServices.filter(({ spec }) => (spec.hosts ?? []).length === 0).map((rule) => [`${rule.namespace}/${rule.name}`, rule]));
  }

  check(rule: Resource<VirtualServiceSpec>): void {
    const { spec } = rule;
    for (const [i, host] of (spec.hosts ?? []).entries()) {
      // Other names than short ones may be of no service on purpose: clients use them in the Host header.
      if (host.includes('.') || host === '*' || this.#exists(qualify(host, rule.namespace))) continue;
      this.#add('warning', rule, ['spec', 'hosts', i], `there is no service "${qualify(host, rule.namespace)}"`, 'create it, or correct the name; until then only requests with this Host header take these routes', 'ORLOP015');
    }
    for (const [i, gateway] of (spec.gateways ?? []).entries()) this.#checkGateway(rule, gateway, ['spec', 'gateways', i]);
    for (const [i, route] of (spec.http ?? []).entries()) {
      const path = ['spec', 'http', i];
      for (const [j, match] of (route.match ?? []).entries()) {
        for (const [k, gateway] of (match.gateways ?? []).entries()) this.#checkGateway(rule, gateway, [...path, 'match', j, 'gateways', k]);
      }
      for (const [j, { destination }] of (route.route ?? []).entries()) this.#checkDestination(rule, destination, [...path, 'route', j, 'destination']);
      if (route.mirror !== undefined) this.#checkDestination(rule, route.mirror, [...path, 'mirror']);
      for (const [j, { destination }] of (route.mirrors ?? []).entries()) this.#checkDestination(rule, destination, [...path, 'mirrors', j, 'destination']);
      if (route.delegate !== undefined) this.#checkDelegate(rule, route.delegate, [...path, 'delegate']);
    }
    for (const part of ['tls', 'tcp'] as const) {
      for (const [i, route] of (spec[part] ?? []).entries()) {
        for (const [j, match] of (route.match ?? []).entries()) {
          for (const [k, gateway] of (match.gateways ?? []).entries()) this.#checkGateway(rule, gateway, ['spec', part, i, 'match', j, 'gateways', k]);
        }
        for (const [j, { destination }] of (route.route ?? []).entries()) this.#checkDestination(rule, destination, ['spec', part, i, 'route', j, 'destination']);
      }
    }
  }

  #checkDelegate(rule: Resource<VirtualServiceSpec>, { name = '', namespace = rule.namespace }: NonNullable<HttpRoute['delegate']>, path: Path): void {
    const delegate = this.#delegates.get(`${namespace}/${name}`);
    if (delegate === undefined) this.#add('error', rule, path, `there is no delegate VirtualService "${name}"`, 'create it, without hosts', 'IST0101');
    else if (!isExported(delegate.spec.exportTo ?? ['*'], namespace, rule.namespace)) this.#add('error', rule, path, `${objectName(delegate)} is not exported to ${rule.namespace}`, `add ${rule.namespace} to its exportTo`, 'IST0101');
  }

  /** A policy for a host that nobody has is mostly a misspelt one. */
  checkPolicy(rule: Resource<DestinationRuleSpec>): void {
    const host = qualify(rule.spec.host, rule.namespace);
    if (host.startsWith('*') ? [...this.#hosts].some((name) => covers(host, name)) : this.#exists(host)) return;
    this.#add('warning', rule, ['spec', 'host'], `there is no service "${host}"`, 'create the Service or a ServiceEntry, or correct the name; until then the rule has no effect', 'KIA0202');
  }

  #exists(host: string): boolean {
    return this.#hosts.has(host) || this.#wildHosts.some((wild) => covers(wild, host));
  }

  #checkGateway(rule: Resource<VirtualServiceSpec>, gateway: string, path: Path): void {
    if (gateway === 'mesh') return;
    const name = gateway.startsWith('./') ? `${rule.namespace}/${gateway.slice(2)}` : gateway.includes('/') ? gateway : `${rule.namespace}/${gateway}`;
    if (!this.#gateways.has(name)) this.#add('error', rule, path, `there is no Gateway ${name}`, 'create it, or bind the VirtualService to "mesh"', 'IST0101');
  }

  #checkDestination(rule: Resource<VirtualServiceSpec>, { host, subset }: HostDestination, path: Path): void {
    const name = qualify(host, rule.namespace);
    if (!this.#exists(name)) {
      this.#add('error', rule, [...path, 'host'], `there is no service "${name}"`, 'create the Service or a ServiceEntry, or correct the name; until then the route answers 503 NC', 'IST0101');
      return;
    }
    if (subset === undefined || subset === '') return;
    const known = [...this.#subsets].flatMap(([pattern, names]) => (covers(pattern, name) ? [...names] : []));
    if (known.includes(subset)) return;
    const there = known.length === 0 ? `no DestinationRule of "${name}" defines subsets` : `there are ${known.join(', ')}`;
    this.#add('error', rule, [...path, 'subset'], `unknown subset "${subset}"`, `${there}; add it to the DestinationRule`, 'IST0101');
  }

  #add(severity: 'error' | 'warning', rule: Origin, path: Path, message: string, remedy: string, code: string): void {
    const key = `${rule.kind} ${rule.namespace}/${rule.name}`;
    if (severity === 'error') this.keys.add(key);
    this.problems.push({ severity, code, file: rule.file, line: this.#lineOf(key, path), object: objectName(rule), field: fieldName(path), message, remedy });
  }
}
