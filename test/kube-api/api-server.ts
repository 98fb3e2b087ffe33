/**
 * An API server in a few lines, for what is hard to bring about with a real one: histories that are compacted at a chosen moment, lists whose
 * tokens expire, servers that vanish. It speaks lists in chunks, watches with bookmarks, resource versions, 410, conflicts and discovery as
 * the real one does; the same code runs against the real one in test/kube/cluster.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { gzipSync } from 'node:zlib';
import { ApiClient } from '../../src/kube/api-client.ts';
import type { Credentials } from '../../src/kube/credentials.ts';

export interface Stored {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** As one writes it. */
export interface Unstored {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

interface Change {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly collection: string;
  readonly object: Stored;
}

interface Watcher {
  readonly collection: string;
  readonly response: ServerResponse;
  readonly wants: (object: Stored) => boolean;
}

interface Target {
  /** `v1/pods`. */
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  /** `status`: of the object, only that is written. */
  readonly part: string | undefined;
}

/** Types that are there only where somebody has installed them. */
const INSTALLED = /(?:[.]istio[.]io|^gateway[.]networking[.]k8s[.]io)\//;

/** Of the kinds that API groups have. */
const CLUSTER_WIDE: ReadonlySet<string> = new Set(['CustomResourceDefinition', 'GatewayClass', 'ValidatingWebhookConfiguration']);

/** As the real one: from 128 KiB on, for whoever takes it. */
const COMPRESS_BYTES_MIN = 131_072;

class Failure extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message = reason) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Kinds to their plurals. */
const PLURALS: Readonly<Record<string, string>> = {
  Pod: 'pods', Namespace: 'namespaces', Service: 'services', ConfigMap: 'configmaps', Secret: 'secrets', EndpointSlice: 'endpointslices', Lease: 'leases', Event: 'events',
  Node: 'nodes', DaemonSet: 'daemonsets',
  CustomResourceDefinition: 'customresourcedefinitions', VirtualService: 'virtualservices', AuthorizationPolicy: 'authorizationpolicies', PeerAuthentication: 'peerauthentications',
  RequestAuthentication: 'requestauthentications', DestinationRule: 'destinationrules', ServiceEntry: 'serviceentries', WorkloadEntry: 'workloadentries', Gateway: 'gateways',
  Sidecar: 'sidecars', WorkloadGroup: 'workloadgroups', ProxyConfig: 'proxyconfigs', EnvoyFilter: 'envoyfilters', Telemetry: 'telemetries', WasmPlugin: 'wasmplugins',
  TrafficExtension: 'trafficextensions', GatewayClass: 'gatewayclasses', ListenerSet: 'listenersets', HTTPRoute: 'httproutes', GRPCRoute: 'grpcroutes', TLSRoute: 'tlsroutes',
  TCPRoute: 'tcproutes', UDPRoute: 'udproutes', ReferenceGrant: 'referencegrants', BackendTLSPolicy: 'backendtlspolicies', ValidatingWebhookConfiguration: 'validatingwebhookconfigurations',
};

export class ApiServer {
  readonly #collections = new Map<string, Map<string, Stored>>();
  readonly #watchers = new Set<Watcher>();
  #changes: Change[] = [];
  #version = 1;
  /** Watches cannot begin before it. */
  #oldest = 0;
  #server: Server | undefined;
  #port = 0;
  /** Lines `METHOD path?query` of every request. */
  readonly requests: string[] = [];
  /** Answers requests before the server itself does. */
  intercept: ((request: IncomingMessage, body: string) => { status: number; body: unknown } | undefined) | undefined;
  /** Answer all with this status. */
  failing: number | undefined;

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      void this.#serve(request, response);
    });
    await new Promise<void>((resolve) => {
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Gone, with all its connections; `start` brings it back at the same port. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#watchers.clear();
    await new Promise<void>((resolve) => {
      if (server === undefined) resolve();
      else server.close(() => resolve());
      server?.closeAllConnections();
    });
    this.#server = undefined;
  }

  credentials(token = 'test'): Credentials {
    return { server: new URL(`http://127.0.0.1:${this.#port}`), present: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: {} }) };
  }

  client(): ApiClient {
    return new ApiClient(this.credentials());
  }

  get(kind: string, name: string, namespace?: string): Stored | undefined {
    for (const [collection, objects] of this.#collections) if (collection.endsWith(`/${pluralOf(kind)}`)) return objects.get(keyOf(namespace, name));
    return undefined;
  }

  all(kind: string): Stored[] {
    return [...this.#collections].filter(([collection]) => collection.endsWith(`/${pluralOf(kind)}`)).flatMap(([, objects]) => [...objects.values()]);
  }

  put(object: Unstored): void {
    const { name, namespace } = object.metadata as unknown as Stored['metadata'];
    const collection = `${object.apiVersion}/${pluralOf(object.kind)}`;
    const objects = this.#collection(collection);
    const key = keyOf(namespace, name);
    const known = objects.get(key);
    const version = this.#nextVersion();
    // Of objects that come with CRDs, changes of the spec are counted.
    const before = Number(known?.metadata['generation'] ?? 0);
    const counted = INSTALLED.test(collection) ? { generation: known !== undefined && isDeepStrictEqual(known['spec'], object['spec']) ? before : before + 1 } : {};
    const stored = { ...object, metadata: { ...object.metadata, ...counted, resourceVersion: String(version) } } as Stored;
    objects.set(key, stored);
    this.#tell({ version, type: known !== undefined ? 'MODIFIED' : 'ADDED', collection, object: stored });
  }

  delete(kind: string, name: string, namespace?: string): void {
    for (const [collection, objects] of this.#collections) {
      const object = collection.endsWith(`/${pluralOf(kind)}`) ? objects.get(keyOf(namespace, name)) : undefined;
      if (object === undefined) continue;
      objects.delete(keyOf(namespace, name));
      const version = this.#nextVersion();
      this.#tell({ version, type: 'DELETED', collection, object: { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } } });
    }
  }

  /** Serve a kind of an API group, as a CRD brings it. */
  install(apiVersion: string, kind: string): void {
    const [group = ''] = apiVersion.split('/');
    this.#collection(`${apiVersion}/${pluralOf(kind)}`);
    this.put({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${pluralOf(kind)}.${group}` } });
  }

  uninstall(apiVersion: string, kind: string): void {
    const [group = ''] = apiVersion.split('/');
    this.#collections.delete(`${apiVersion}/${pluralOf(kind)}`);
    this.endWatches(pluralOf(kind));
    this.delete('CustomResourceDefinition', `${pluralOf(kind)}.${group}`);
  }

  /** Whoever watches is told how far the world is. */
  bookmark(): void {
    this.#nextVersion();
    for (const { collection, response } of this.#watchers) response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { kind: kindOf(collection), metadata: { resourceVersion: String(this.#version) } } })}\n`);
  }

  /** As etcd does: versions before this moment can no longer be watched from. */
  compact(): void {
    this.#nextVersion();
    this.#oldest = this.#version;
    this.#changes = [];
  }

  endWatches(plural?: string): void {
    for (const watcher of this.#watchers) {
      if (plural !== undefined && !watcher.collection.endsWith(`/${plural}`)) continue;
      watcher.response.end();
      this.#watchers.delete(watcher);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push(`${request.method ?? ''} ${request.url ?? ''}`);
    let body = '';
    for await (const chunk of request as AsyncIterable<Buffer>) body += chunk.toString();
    const intercepted = this.intercept?.(request, body);
    if (intercepted !== undefined) {
      reply(response, intercepted.status, intercepted.body);
      return;
    }
    try {
      if (this.failing !== undefined) throw new Failure(this.failing, 'InternalError');
      this.#answer(request, response, body);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      reply(response, error.status, { kind: 'Status', status: 'Failure', code: error.status, reason: error.reason, message: error.message });
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse, body: string): void {
    const url = new URL(request.url ?? '/', 'http://api');
    const discovery = this.#discover(url.pathname);
    if (discovery !== undefined) {
      reply(response, 200, discovery);
      return;
    }
    const target = targetOf(url.pathname);
    if (target === undefined) throw new Failure(404, 'NotFound');
    if (request.method !== 'GET') reply(response, 200, this.#write(request.method ?? '', target, body));
    else if (target.name !== undefined) reply(response, 200, this.#find(target));
    else if (url.searchParams.get('watch') === 'true') this.#watch(target, url.searchParams, response);
    else reply(response, 200, this.#list(target, url.searchParams, request.headers.accept?.includes('as=PartialObjectMetadataList') === true));
  }

  #discover(path: string): unknown {
    const [, apis, group, version, more] = path.split('/');
    if (apis !== 'apis' || group === undefined || more !== undefined) return undefined;
    const served = [...this.#collections.keys()].filter((collection) => collection.startsWith(`${group}/`)).map((collection) => collection.split('/') as [string, string, string]);
    if (version === undefined) {
      if (served.length === 0) throw new Failure(404, 'NotFound');
      return { kind: 'APIGroup', name: group, versions: [...new Set(served.map(([, of]) => of))].map((of) => ({ groupVersion: `${group}/${of}`, version: of })) };
    }
    const resources = served.filter(([, of]) => of === version).flatMap(([, , plural]) => [{ name: plural, kind: kindOf(plural), namespaced: !CLUSTER_WIDE.has(kindOf(plural)) }, { name: `${plural}/status`, kind: kindOf(plural) }]);
    return { kind: 'APIResourceList', groupVersion: `${group}/${version}`, resources };
  }

  #list({ collection, namespace }: Target, query: URLSearchParams, isMetadata: boolean): unknown {
    const [from = '0', version = String(this.#version)] = (query.get('continue') ?? '').split('@').filter((part) => part !== '');
    if (Number(version) < this.#oldest) throw new Failure(410, 'Expired', 'The provided continue parameter is too old');
    const limit = Number(query.get('limit') ?? Infinity);
    const wants = wanted(namespace, query);
    const all = [...this.#existing(collection).values()].filter(wants);
    const items = all.slice(Number(from), Number(from) + limit).map(({ apiVersion, kind, ...rest }) => (INSTALLED.test(collection) ? { apiVersion, kind, ...rest } : rest));
    const next = Number(from) + items.length;
    return { kind: `${kindOf(collection)}List`, metadata: { resourceVersion: version, ...(next < all.length ? { continue: `${next}@${version}` } : {}) }, items: isMetadata && items.length === 0 ? null : items };
  }

  #watch({ collection, namespace }: Target, query: URLSearchParams, response: ServerResponse): void {
    this.#existing(collection);
    const since = Number(query.get('resourceVersion'));
    const wants = wanted(namespace, query);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (since < this.#oldest) {
      response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' } })}\n`);
      return;
    }
    const watcher = { collection, response, wants };
    for (const change of this.#changes) if (change.version > since) send(watcher, change);
    this.#watchers.add(watcher);
    response.on('close', () => this.#watchers.delete(watcher));
  }

  #find({ collection, namespace, name = '' }: Target): Stored {
    const found = this.#existing(collection).get(keyOf(namespace, name));
    if (found === undefined) throw new Failure(404, 'NotFound', `${collection} "${name}" not found`);
    return found;
  }

  #write(method: string, target: Target, body: string): Stored {
    const { collection, namespace } = target;
    if (method === 'DELETE') {
      const gone = this.#find(target);
      this.delete(gone.kind, gone.metadata.name, namespace);
      return gone;
    }
    const given = JSON.parse(body) as Stored;
    const name = target.name ?? given.metadata.name;
    const known = this.#existing(collection).get(keyOf(namespace, name));
    if (method === 'POST' && known !== undefined) throw new Failure(409, 'AlreadyExists');
    if (method !== 'POST' && known === undefined) throw new Failure(404, 'NotFound');
    const { resourceVersion } = given.metadata;
    if (resourceVersion !== undefined && resourceVersion !== known?.metadata.resourceVersion) throw new Failure(409, 'Conflict', 'the object has been modified');
    if (method === 'PATCH' && given.metadata?.['uid'] !== undefined && given.metadata['uid'] !== known?.metadata['uid']) throw new Failure(422, 'Invalid', 'metadata.uid: field is immutable');
    const merged = merge(method, target.part, known, given);
    // As the real one: a change that changes nothing is none.
    if (known !== undefined && isDeepStrictEqual(known, merged)) return known;
    this.put({ ...merged, metadata: { ...merged.metadata, name, namespace } });
    return this.#find({ collection, namespace, name, part: undefined });
  }

  #existing(collection: string): Map<string, Stored> {
    const found = this.#collections.get(collection);
    // Types of an API group that nobody installed are not there; Kubernetes' own always are.
    if (found === undefined && INSTALLED.test(collection)) throw new Failure(404, 'NotFound', 'the server could not find the requested resource');
    return found ?? this.#collection(collection);
  }

  #collection(collection: string): Map<string, Stored> {
    const known = this.#collections.get(collection) ?? new Map<string, Stored>();
    this.#collections.set(collection, known);
    return known;
  }

  #tell(change: Change): void {
    this.#changes.push(change);
    for (const watcher of this.#watchers) if (watcher.collection === change.collection) send(watcher, change);
  }

  #nextVersion(): number {
    this.#version += 1;
    return this.#version;
  }
}

function merge(method: string, part: string | undefined, known: Stored | undefined, given: Stored): Stored {
  if (method !== 'PATCH' || known === undefined) return given;
  const merged = mergePatch(known, given) as Stored;
  if (part !== 'status') return merged;
  // Of a pod, metadata are changed this way too; of objects that come with CRDs they are not.
  return known.kind === 'Pod' ? { ...merged, spec: known['spec'] } : { ...known, status: merged['status'] };
}

function send({ collection, response, wants }: Watcher, { type, object, collection: of }: Change): void {
  if (collection === of && wants(object)) response.write(`${JSON.stringify({ type, object })}\n`);
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  const compressed = text.length > COMPRESS_BYTES_MIN;
  response.writeHead(status, { 'content-type': 'application/json', ...(compressed ? { 'content-encoding': 'gzip' } : {}) });
  response.end(compressed ? gzipSync(text, { level: 1 }) : text);
}

/** RFC 7396. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const merged: Record<string, unknown> = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `/api/v1/namespaces/x/pods/y` and its like. */
function targetOf(path: string): Target | undefined {
  const [, core, group, rest] = /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))\/(.+)$/.exec(path) ?? [];
  if (rest === undefined) return undefined;
  const parts = rest.split('/');
  const namespaced = parts[0] === 'namespaces' && parts.length > 2;
  const [plural, name, part] = namespaced ? parts.slice(2) : parts;
  return { collection: `${core ?? group ?? ''}/${plural ?? ''}`, namespace: namespaced ? parts[1] : undefined, name, part };
}

function wanted(namespace: string | undefined, query: URLSearchParams): (object: Stored) => boolean {
  const [field, value] = (query.get('fieldSelector') ?? '').split('=');
  const labels = (query.get('labelSelector') ?? '').split(',').filter((part) => part !== '').map((part) => part.split('=') as [string, string]);
  return ({ metadata, spec }) => {
    if (namespace !== undefined && metadata.namespace !== namespace) return false;
    if (labels.some(([key, wish]) => (metadata['labels'] as Readonly<Record<string, string>> | undefined)?.[key] !== wish)) return false;
    if (field === 'metadata.name') return metadata.name === value;
    return field !== 'spec.nodeName' || (spec as { nodeName?: string }).nodeName === value;
  };
}

function pluralOf(kind: string): string {
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`the API server of the tests does not know ${kind}`);
  return plural;
}

function kindOf(collection: string): string {
  const plural = collection.split('/').at(-1);
  return Object.keys(PLURALS).find((kind) => PLURALS[kind] === plural) ?? '';
}

function keyOf(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''}/${name}`;
}
