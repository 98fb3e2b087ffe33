/**
 * Files, or objects of an API server, to snapshot. Each object stands on its own: one that is wrong is reported and replaced by its last
 * good version, and never keeps another from taking effect. What has not changed since the snapshot before is neither parsed nor checked again.
 */
import { RESOURCE_PROBLEMS_MAX } from '../core/limits.ts';
import { fieldName } from './field-name.ts';
import { crossProblems } from './cross-problems.ts';
import { byRouteAge } from './gateway/order.ts';
import { ROUTE_KINDS } from './gateway/resources.ts';
import type { GatewayRoute } from './gateway/resources.ts';
import { parseDocuments } from './parse/document.ts';
import type { ParsedFile, Path, SourceDocument } from './parse/document.ts';
import { ENVELOPE, kindOf, KINDS } from './parse/istio-schemas.ts';
import type { Kind } from './parse/istio-schemas.ts';
import { record, text, texts } from './parse/json.ts';
import { readPod, readService } from './parse/kubernetes.ts';
import { readMeshConfig } from './parse/mesh-config.ts';
import { checkMeshWish } from './parse/mesh-wish.ts';
import { RULES } from './parse/rules.ts';
import { check, nearest, withoutNulls } from './parse/schema.ts';
import type { Report } from './parse/schema.ts';
import { byPlace, placeOf } from './problem.ts';
import type { Problem, Severity } from './problem.ts';
import { byAge, objectName } from './resources.ts';
import type { Origin, Resource } from './resources.ts';
import type { AuthorizationPolicyResource, AuthorizationPolicySpec } from './security-resources.ts';
import { DEFAULT_MESH_CONFIG } from './snapshot.ts';
import type { GoodObject, MeshConfig, Service, Snapshot, Workload } from './snapshot.ts';

export interface SourceFile {
  readonly name: string;
  readonly text: string;
  /** Why there is no text; the objects that the file held before stay in force. */
  readonly unreadable?: string;
}

/** One object, as an API server has it. */
export interface SourceObject {
  /** Tells where it stands, and it apart from others: `VirtualService bookinfo/reviews`. */
  readonly name: string;
  /** Never changed: another version of the object is another value. */
  readonly value: Readonly<Record<string, unknown>>;
}

export type Source = SourceFile | SourceObject;

/** Kinds whose absence lets more happen than their author wants. */
const PROTECTS: ReadonlySet<string> = new Set(['PeerAuthentication', 'RequestAuthentication', 'AuthorizationPolicy']);

const ROOT_NAMESPACE = DEFAULT_MESH_CONFIG.rootNamespace;

interface Parsed extends ParsedFile {
  /** What it was made of: a text, or an object itself. */
  readonly content: string | SourceObject['value'];
}

/** Files as they were parsed for a snapshot, by name: for the next one only those that have changed are parsed again. */
const parses = new WeakMap<Snapshot, ReadonlyMap<string, Parsed>>();

/** What one document says, whatever stands beside it. */
interface Checked {
  readonly kind: Kind | undefined;
  readonly object: GoodObject;
  readonly faults: Faults;
}

const checks = new WeakMap<SourceDocument, Checked>();

/** Build a snapshot; `previous` supplies the last good version of what is wrong now. */
export function buildSnapshot(files: Iterable<Source>, previous?: Snapshot): Snapshot {
  const builder = new Builder(previous);
  for (const file of files) builder.read(file);
  const snapshot = builder.finish();
  parses.set(snapshot, builder.parsed);
  return snapshot;
}

/** Is this what `snapshot` was made of, and not a version of the object that has come since? */
export function isMadeOf(snapshot: Snapshot, { name, value }: SourceObject): boolean {
  return parses.get(snapshot)?.get(name)?.content === value;
}

/** What an object of an API server says and what is wrong with it, whatever stands beside it. */
export function checkObject(source: SourceObject): { readonly kind: Kind | undefined; readonly object: GoodObject; readonly problems: readonly Problem[]; readonly failed: boolean } {
  const { kind, object, faults } = checkDocument(documentOf(source));
  return { kind, object, problems: faults.problems, failed: faults.failed };
}

class Builder {
  readonly parsed = new Map<string, Parsed>();
  readonly #previous: Snapshot | undefined;
  readonly #problems: Problem[] = [];
  readonly #objects: Record<string, GoodObject> = {};
  /** Where the fields of the objects read now stand. */
  readonly #documents = new Map<string, SourceDocument>();

  constructor(previous: Snapshot | undefined) {
    this.#previous = previous;
  }

  read(file: Source): void {
    if ('text' in file && file.unreadable !== undefined) {
      this.#problems.push({ severity: 'error', code: 'ORLOP007', file: file.name, line: 0, object: '', field: '', message: `cannot be read: ${file.unreadable}`, remedy: 'make it readable; until then the objects this file held before stay in force' });
      this.#keepFile(file.name);
      return;
    }
    const { documents, problems, broken } = this.#parse(file);
    this.#problems.push(...problems);
    for (const document of documents) this.#take(document);
    if (broken) this.#keepFile(file.name);
  }

  #parse(file: Source): Parsed {
    const { name } = file;
    const content = 'text' in file ? file.text : file.value;
    const known = this.#previous === undefined ? undefined : parses.get(this.#previous)?.get(name);
    const parsed = known?.content === content ? known : { content, ...('text' in file ? parseDocuments(name, file.text) : parsedObject(file)) };
    this.parsed.set(name, parsed);
    return parsed;
  }

  finish(): Snapshot {
    const snapshot = this.#assemble();
    const lineOf = (key: string, path: Path): number => this.#documents.get(key)?.lineOf(path) ?? this.#objects[key]?.origin.line ?? 0;
    const broken = crossProblems(snapshot, lineOf);
    this.#problems.push(...broken.problems);
    // A rule that has come to name what does not exist must not replace the one that worked.
    let replaced = false;
    for (const key of broken.keys) {
      const last = this.#previous?.objects[key];
      if (last === undefined || last.value === this.#objects[key]?.value || JSON.stringify(last.value['spec']) === JSON.stringify(this.#objects[key]?.value['spec'])) continue;
      this.#objects[key] = last;
      this.#problems.push(kept(last));
      replaced = true;
    }
    const final = replaced ? this.#assemble() : snapshot;
    return { ...final, problems: this.#problems.sort(byPlace) };
  }

  /** What is not to be seen in a file with an error of syntax, and was there before, is taken to be still there. */
  #keepFile(name: string): void {
    for (const [key, object] of Object.entries(this.#previous?.objects ?? {})) if (object.origin.file === name) this.#objects[key] ??= object;
  }

  #take(document: SourceDocument): void {
    const checked = checks.get(document) ?? checkDocument(document);
    checks.set(document, checked);
    for (const problem of checked.faults.problems) this.#problems.push(problem);
    this.#keep(checked, document);
  }

  #keep({ kind, object, faults }: Checked, document: SourceDocument): void {
    const { origin } = object;
    if (kind === undefined || kind.support === 'ignored' || origin.name === '') return;
    const key = keyOf(origin);
    if (this.#documents.has(key)) {
      const first = this.#objects[key]?.origin;
      this.#problems.push(faults.problem('error', [], `defined twice; the one at ${first === undefined ? '' : placeOf(first)} is used`, 'remove one of them', 'ORLOP005'));
      return;
    }
    const last = this.#previous?.objects[key];
    if (!faults.failed) {
      this.#documents.set(key, document);
      this.#objects[key] = object;
    } else if (last !== undefined) {
      this.#objects[key] = last;
      this.#problems.push(kept(last));
    } else if (PROTECTS.has(origin.kind)) {
      // Refusing everything instead would let one mistyped file of one team stop a namespace, or with a root policy the mesh;
      // Istio's API server would not have taken the object either. So it is as if it had not been written, and that is said loudly.
      this.#problems.push(faults.problem('error', [], 'this object has never been valid, so it protects nothing', 'correct its errors; until then do not rely on it', 'ORLOP016'));
    }
  }

  #assemble(): Snapshot {
    const byKind = Map.groupBy(Object.values(this.#objects), ({ origin }) => origin.kind);
    const of = (kind: string): GoodObject[] => byKind.get(kind) ?? [];
    const specs = <S>(kind: string): Resource<S>[] => of(kind).map((object) => resourceOf<S>(object)).sort(byAge);
    const namespaces = new Map(of('Namespace').map(({ origin, value }) => [origin.name, value]));
    const slices = Map.groupBy(of('EndpointSlice'), ({ origin, value }) => `${origin.namespace}/${text(record(record(value['metadata'])['labels'])['kubernetes.io/service-name'])}`);
    const mesh = this.#meshConfig(of('ConfigMap'));
    return {
      version: (this.#previous?.version ?? 0) + 1,
      mesh,
      workloads: of('Pod').map((pod) => workloadOf(pod, namespaces, mesh.istioDataplaneMode === 'honoured')),
      services: of('Service').map((service) => serviceOf(service, slices.get(`${service.origin.namespace}/${service.origin.name}`) ?? [])).sort((a, b) => byAge(a.origin, b.origin)),
      virtualServices: specs('VirtualService'),
      destinationRules: specs('DestinationRule'),
      serviceEntries: specs('ServiceEntry'),
      workloadEntries: specs('WorkloadEntry'),
      peerAuthentications: specs('PeerAuthentication'),
      requestAuthentications: specs('RequestAuthentication'),
      authorizationPolicies: of('AuthorizationPolicy').map(readPolicy).sort(byAge),
      istioGateways: specs('Gateway.networking.istio.io'),
      gatewayApi: {
        classes: specs('GatewayClass'),
        gateways: specs('Gateway'),
        listenerSets: specs('ListenerSet'),
        routes: ROUTE_KINDS.flatMap((kind) => specs<never>(kind)).sort(byRouteAge) as readonly Origin[] as readonly GatewayRoute[],
        referenceGrants: specs('ReferenceGrant'),
        backendTlsPolicies: specs('BackendTLSPolicy'),
      },
      namespaceLabels: Object.fromEntries([...namespaces].map(([name, value]) => [name, texts(record(value['metadata'])['labels'])])),
      nodeLabels: Object.fromEntries(of('Node').map(({ origin, value }) => [origin.name, texts(record(value['metadata'])['labels'])])),
      problems: [],
      objects: this.#objects,
    };
  }

  #meshConfig(configMaps: readonly GoodObject[]): MeshConfig {
    const found = configMaps.find(({ origin }) => origin.name === 'istio' && origin.namespace === ROOT_NAMESPACE);
    if (found === undefined) return DEFAULT_MESH_CONFIG;
    const document = this.#documents.get(keyOf(found.origin));
    const faults = new Faults(found.origin, document ?? { file: found.origin.file, value: found.value, lineOf: () => found.origin.line });
    const mesh = readMeshConfig(found.value, faults);
    if (!this.#problems.some((problem) => problem.object === objectName(found.origin))) this.#problems.push(...faults.problems);
    return faults.failed ? (this.#previous?.mesh ?? DEFAULT_MESH_CONFIG) : mesh;
  }
}

function parsedObject(source: SourceObject): ParsedFile {
  return { documents: [documentOf(source)], problems: [], broken: false };
}

/** An object of an API server has no lines. */
function documentOf({ name, value }: SourceObject): SourceDocument {
  return { file: name, value, lineOf: () => 0 };
}

function checkDocument(document: SourceDocument): Checked {
  const { value, file } = document;
  const kindName = text(value['kind']);
  const meta = record(value['metadata']);
  const { name: knownAs, kind } = kindOf(kindName, text(value['apiVersion']));
  const name = text(meta['name']);
  const namespace = kind?.clusterScoped === true ? '' : text(meta['namespace']) || 'default';
  const origin: Origin = { kind: knownAs, name, namespace, file, line: document.lineOf([]), createdMs: Date.parse(text(meta['creationTimestamp'])) || 0 };
  const faults = new Faults(origin, document);
  checkHead(kind, value, name, faults);
  if (kind !== undefined && !faults.failed) checkBody(kind, knownAs, value, meta, faults);
  return { kind, object: { origin, value: withoutNulls(value) as GoodObject['value'] }, faults };
}

function checkHead(kind: Kind | undefined, value: Readonly<Record<string, unknown>>, name: string, faults: Faults): void {
  const kindName = text(value['kind']);
  if (kindName === '') faults.error([], 'kind is missing', 'give the object apiVersion and kind');
  else if (kind === undefined) {
    const near = nearest(kindName, Object.keys(KINDS).filter((known) => !known.includes('.')));
    faults.error(['kind'], `unknown kind "${kindName}"`, near === undefined ? 'remove it; Orlop does not know it' : `did you mean ${near}?`, 'ORLOP003');
  } else if (!kind.groups.includes(text(value['apiVersion'])) && kind.support !== 'ignored') {
    faults.error(['apiVersion'], `unknown apiVersion "${text(value['apiVersion'])}" for ${kindName}`, `use ${kind.groups.join(', ')}`, 'ORLOP004');
  }
  if (name === '' && kindName !== '' && kind?.support !== 'ignored') faults.error(['metadata'], 'metadata.name is missing', 'give the object a name');
}

function checkBody(kind: Kind, kindName: string, value: Readonly<Record<string, unknown>>, meta: Readonly<Record<string, unknown>>, faults: Faults): void {
  if (kind.support === 'later') faults.add('info', [], `${kindName} is not honoured yet`, kind.why ?? '', 'ORLOP011');
  if (kindName === 'Pod' || kindName === 'Namespace') checkMeshWish(meta, (path, message, remedy) => faults.add('error', path, message, remedy, 'ORLOP008'));
  if (kind.support !== 'honoured' && kind.support !== 'kubernetes') return;
  if (kind.schema === undefined) return;
  check(value, ENVELOPE, [], faults);
  if (value['spec'] === undefined || value['spec'] === null) {
    faults.error([], 'spec is missing', 'add spec');
    return;
  }
  check(value['spec'], kind.schema, ['spec'], faults);
  // Rules between fields may rely on the types of the fields.
  if (!faults.failed) (RULES[kindName] as ((spec: unknown, report: Report) => void) | undefined)?.(withoutNulls(value['spec']), faults);
}

interface ReadPod {
  readonly namespace: GoodObject['value'] | undefined;
  readonly istioLabels: boolean;
  readonly workload: Workload;
}

interface ReadService {
  readonly slices: readonly GoodObject['value'][];
  readonly service: Service;
}

/** Of each object its resource, which stays the same for as long as the object does. */
const resources = new WeakMap<GoodObject, Resource<unknown>>();

function resourceOf<S>(object: GoodObject): Resource<S> {
  const resource = resources.get(object) ?? { ...object.origin, spec: object.value['spec'] };
  resources.set(object, resource);
  return resource as Resource<S>;
}

/** What was read of a pod, and of a service, when it and what it depends on were the same. */
const pods = new WeakMap<GoodObject['value'], ReadPod>();
const services = new WeakMap<GoodObject['value'], ReadService>();

function workloadOf({ origin, value }: GoodObject, namespaces: ReadonlyMap<string, GoodObject['value']>, istioLabels: boolean): Workload {
  const namespace = namespaces.get(origin.namespace);
  const known = pods.get(value);
  if (known !== undefined && known.namespace === namespace && known.istioLabels === istioLabels) return known.workload;
  const workload = readPod(origin, value, namespace, istioLabels);
  pods.set(value, { namespace, istioLabels, workload });
  return workload;
}

function serviceOf({ origin, value }: GoodObject, objects: readonly GoodObject[]): Service {
  const known = services.get(value);
  if (known !== undefined && known.service.origin === origin && known.slices.length === objects.length && objects.every((slice, i) => slice.value === known.slices[i])) return known.service;
  const slices = objects.map((slice) => slice.value);
  const service = readService(origin, value, slices);
  services.set(value, { slices, service });
  return service;
}

const policies = new WeakMap<GoodObject, AuthorizationPolicyResource>();

export function readPolicy(object: GoodObject): AuthorizationPolicyResource {
  const known = policies.get(object);
  if (known !== undefined) return known;
  const { origin, value } = object;
  const dryRun = texts(record(value['metadata'])['annotations'])['istio.io/dry-run'] === 'true';
  const policy = { ...origin, spec: value['spec'] as AuthorizationPolicySpec, dryRun };
  policies.set(object, policy);
  return policy;
}

/** Says that an object's former version is the one that counts. */
function kept(last: GoodObject): Problem {
  const { origin } = last;
  const { file, line } = origin;
  // Files have no generations.
  const generation = generationOf(last);
  const which = generation === 0 ? '' : ` (generation ${generation})`;
  return { severity: 'info', code: 'ORLOP006', file, line, object: objectName(origin), field: '', message: `the last good version of this object${which} stays in force`, remedy: 'correct its errors' };
}

/** metadata.generation; 0 where there is none. */
export function generationOf({ value }: GoodObject): number {
  return Number(record(value['metadata'])['generation'] ?? 0);
}

function keyOf({ kind, namespace, name }: Origin): string {
  return `${kind} ${namespace}/${name}`;
}

/** Gathers what is wrong with one object. */
class Faults implements Report {
  readonly problems: Problem[] = [];
  failed = false;
  regexChars = 0;
  #errors = 0;
  readonly #origin: Origin;
  readonly #document: SourceDocument;

  constructor(origin: Origin, document: SourceDocument) {
    this.#origin = origin;
    this.#document = document;
  }

  get isFull(): boolean {
    return this.#errors >= RESOURCE_PROBLEMS_MAX;
  }

  error(path: Path, message: string, remedy: string, code = 'IST0106'): void {
    this.failed = true;
    this.add('error', path, message, remedy, code);
  }

  warning(path: Path, message: string, remedy: string, code = 'IST0133'): void {
    this.add('warning', path, message, remedy, code);
  }

  /** Errors find room beside any number of warnings, as they decide. */
  add(severity: Severity, path: Path, message: string, remedy: string, code: string): void {
    if (severity === 'error') this.#errors += 1;
    const others = this.problems.length - Math.min(this.#errors, RESOURCE_PROBLEMS_MAX);
    if (severity === 'error' ? this.#errors <= RESOURCE_PROBLEMS_MAX : others < RESOURCE_PROBLEMS_MAX) this.problems.push(this.problem(severity, path, message, remedy, code));
  }

  problem(severity: Severity, path: Path, message: string, remedy: string, code: string): Problem {
    const { file } = this.#document;
    const object = this.#origin.kind === '' ? '' : objectName(this.#origin);
    return { severity, code, file, line: this.#document.lineOf(path), object, field: fieldName(path), message, remedy };
  }
}
