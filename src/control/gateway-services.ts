/**
 * How clients reach gateways in a cluster: for each Gateway a Service of type LoadBalancer, whose endpoints are the nodes that serve it, at ports of their
 * own. The replica that leads keeps them; ports that it has given are recorded in the Services, where agents read them.
 */
import type { Logger } from '../core/log.ts';
import { GATEWAY_PORT_FIRST, GATEWAY_PORT_LAST } from '../core/ports.ts';
import { ApiError, unlessMissing } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import { compileGateway, gatewaysOf } from '../mesh/gateway/compile.ts';
import { isGatewayPort, isPlacedOn, placementOf, serviceAccountOf } from '../mesh/gateway/placement.ts';
import type { GatewayAddress } from '../mesh/gateway/status.ts';
import { GATEWAY } from '../mesh/gateway/table.ts';
import type { GatewayId } from '../mesh/gateway/table.ts';
import { list, record, strings, text, texts } from '../mesh/parse/json.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { AgentPod } from './agent-pods.ts';
import { MANAGER, endpointSlices } from './gateway-endpoints.ts';

export interface GatewayServicesOptions {
  readonly client: ApiClient;
  readonly snapshot: () => Snapshot | undefined;
  /** Where agents are, and which of them are ready. */
  readonly agents: () => readonly AgentPod[];
  readonly log: Logger;
}

const MANAGED_BY = 'app.kubernetes.io/managed-by';
const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';

export class GatewayServices {
  readonly #options: GatewayServicesOptions;
  #addresses: ReadonlyMap<string, readonly GatewayAddress[]> = new Map();
  readonly #followers = new Set<() => void>();
  readonly #told = new Map<string, string>();
  readonly #ports = new PortBook();

  constructor(options: GatewayServicesOptions) {
    this.#options = options;
  }

  /** What clients reach it by; none: nothing yet. */
  addresses(id: GatewayId): readonly GatewayAddress[] {
    return this.#addresses.get(keyOf(id)) ?? [];
  }

  /** Call `fn` when addresses have changed. */
  follow(fn: () => void): void {
    this.#followers.add(fn);
  }

  /** Bring Services and EndpointSlices in line. Resolves with whether every gateway has an address; rejects when the API server cannot be asked. */
  async step(): Promise<boolean> {
    const snapshot = this.#options.snapshot();
    if (snapshot === undefined) return true;
    const ids = gatewaysOf(snapshot);
    this.#ports.use(snapshot, new Set(ids.map((id) => `${id.namespace}/${serviceAccountOf(id)}`)));
    const addresses = new Map<string, readonly GatewayAddress[]>();
    const failures: unknown[] = [];
    for (const id of ids) {
      try {
        addresses.set(keyOf(id), await this.#keep(id, snapshot));
      } catch (error) {
        // One namespace that does not let us must not hold up the others.
        if (!(error instanceof ApiError)) throw error;
        this.#say(id, error.message);
        failures.push(error);
      }
    }
    await this.#removeOthers(new Set(ids.filter((id) => placementOf(id, snapshot, false).mode === 'loadBalancer').map((id) => `${id.namespace}/${serviceAccountOf(id)}`)), snapshot);
    this.#publish(addresses);
    return failures.length === 0 && [...addresses.values()].every((found) => found.length > 0);
  }

  async #keep(id: GatewayId, snapshot: Snapshot): Promise<readonly GatewayAddress[]> {
    const placement = placementOf(id, snapshot, false);
    if (placement.problem !== undefined) return [];
    const nodes = this.#options.agents().filter(({ node }) => isPlacedOn(placement, snapshot.nodeLabels[node]));
    if (placement.mode === 'hostPort') return nodes.filter(({ ready }) => ready).flatMap(({ addresses }) => addresses.slice(0, 1)).map((value) => ({ type: 'IPAddress', value }));
    return this.#keepService(id, nodes, snapshot);
  }

  async #keepService(id: GatewayId, nodes: readonly AgentPod[], snapshot: Snapshot): Promise<readonly GatewayAddress[]> {
    const { client } = this.#options;
    const name = serviceAccountOf(id);
    const collection = `/api/v1/namespaces/${id.namespace}/services`;
    const known = await unlessMissing(client.send(`${collection}/${name}`));
    if (known !== undefined && texts(record(known['metadata'])['labels'])[MANAGED_BY] !== MANAGER) {
      this.#say(id, `there is a Service ${id.namespace}/${name} that is not the gateway's; remove it, or call the Gateway otherwise`);
      return [];
    }
    const wanted = [...(compileGateway(snapshot, id)?.ports.keys() ?? [])].sort((a, b) => a - b);
    if (wanted.length === 0) return [];
    const given = new Map(wanted.map((port) => [port, this.#ports.give(`${id.namespace}/${name}`, known, port)]));
    const service = serviceOf(id, given, snapshot);
    const stored = known === undefined ? await client.send(collection, { method: 'POST', body: service }) : await this.#update(collection, known, service);
    await this.#keepEndpoints(id, given, nodes);
    this.#told.delete(keyOf(id));
    return list(record(record(stored['status'])['loadBalancer'])['ingress']).flatMap(({ ip, hostname }): GatewayAddress[] => (text(ip) !== '' ? [{ type: 'IPAddress', value: text(ip) }] : text(hostname) !== '' ? [{ type: 'Hostname', value: text(hostname) }] : []));
  }

  /** What others add to it (a cloud's annotations, an allocated NodePort) stays. */
  async #update(collection: string, known: ApiObject, wanted: ApiObject): Promise<ApiObject> {
    const [meta, spec] = [record(known['metadata']), record(known['spec'])];
    const [wantedMeta, wantedSpec] = [record(wanted['metadata']), record(wanted['spec'])];
    const byPort = new Map(list(spec['ports']).map((port) => [port['port'], port]));
    const ports = list(wantedSpec['ports']).map((port) => ({ ...byPort.get(port['port']), ...port }));
    const body = {
      ...known,
      metadata: { ...meta, labels: { ...texts(meta['labels']), ...texts(wantedMeta['labels']) }, annotations: { ...texts(meta['annotations']), ...texts(wantedMeta['annotations']) } },
      spec: { ...spec, ...wantedSpec, ports },
    };
    if (JSON.stringify(sorted(body)) === JSON.stringify(sorted({ ...known, metadata: { ...meta, labels: texts(meta['labels']), annotations: texts(meta['annotations']) } }))) return known;
    return this.#options.client.send(`${collection}/${text(meta['name'])}`, { method: 'PUT', body });
  }

  async #keepEndpoints(id: GatewayId, ports: ReadonlyMap<number, number>, nodes: readonly AgentPod[]): Promise<void> {
    const { client } = this.#options;
    const name = serviceAccountOf(id);
    const collection = `/apis/discovery.k8s.io/v1/namespaces/${id.namespace}/endpointslices`;
    const found = await client.send(collection, { query: { labelSelector: `kubernetes.io/service-name=${name},endpointslice.kubernetes.io/managed-by=${MANAGER}` } });
    const known = new Map(list(found['items']).map((slice) => [text(record(slice['metadata'])['name']), slice]));
    for (const slice of endpointSlices(id.namespace, name, ports, nodes)) {
      const own = text(record(slice['metadata'])['name']);
      const before = known.get(own);
      known.delete(own);
      if (before === undefined) await client.send(collection, { method: 'POST', body: slice });
      else if (JSON.stringify(sorted([before['endpoints'], before['ports']])) !== JSON.stringify(sorted([slice['endpoints'], slice['ports']]))) {
        // Objects in lists lack what they are.
        const { apiVersion, kind, endpoints, ports: nodePorts } = slice;
        await client.send(`${collection}/${own}`, { method: 'PUT', body: { ...before, apiVersion, kind, endpoints, ports: nodePorts } });
      }
    }
    for (const gone of known.keys()) await client.send(`${collection}/${gone}`, { method: 'DELETE' });
  }

  /** Of gateways that are gone, or listen on ports of the nodes now. Services of deleted Gateways go with their owners by themselves. */
  async #removeOthers(wanted: ReadonlySet<string>, { services, objects }: Snapshot): Promise<void> {
    for (const { origin: { namespace, name } } of services) {
      const labels = texts(record(objects[`Service ${namespace}/${name}`]?.value['metadata'])['labels']);
      if (labels[MANAGED_BY] !== MANAGER || labels[GATEWAY_NAME] === undefined || wanted.has(`${namespace}/${name}`)) continue;
      await unlessMissing(this.#options.client.send(`/api/v1/namespaces/${namespace}/services/${name}`, { method: 'DELETE' }));
    }
  }

  #publish(addresses: ReadonlyMap<string, readonly GatewayAddress[]>): void {
    const before = JSON.stringify([...this.#addresses]);
    this.#addresses = addresses;
    if (JSON.stringify([...addresses]) !== before) for (const follow of this.#followers) follow();
  }

  #say(id: GatewayId, reason: string): void {
    if (this.#told.get(keyOf(id)) === reason) return;
    this.#told.set(keyOf(id), reason);
    this.#options.log.error({ gateway: `${id.namespace}/${id.name}`, reason }, 'a gateway cannot be reached: its Service could not be kept');
  }
}

/** Which Service has a port of the nodes, so that each is given once in the cluster. What was given may not be in a snapshot yet. */
class PortBook {
  readonly #owners = new Map<number, string>();

  /** Of the Services that are stored, the oldest has a port; ports of Services that are gone, and of no gateway (`kept`), are free again. */
  use({ services }: Snapshot, kept: ReadonlySet<string>): void {
    for (const [port, owner] of this.#owners) if (!kept.has(owner)) this.#owners.delete(port);
    for (const { origin, ports, selector } of services) {
      if (selector !== undefined) continue;
      for (const { targetPort } of ports) if (typeof targetPort === 'number' && !this.#owners.has(targetPort)) this.#owners.set(targetPort, `${origin.namespace}/${origin.name}`);
    }
  }

  /** The one that the Service has for the port, unless another's got it too; or else the first that is free. */
  give(name: string, service: ApiObject | undefined, port: number): number {
    const known = list(record(service?.['spec'])['ports']).find((one) => one['port'] === port)?.['targetPort'];
    if (typeof known === 'number' && isGatewayPort(known) && (this.#owners.get(known) ?? name) === name) {
      this.#owners.set(known, name);
      return known;
    }
    for (let free = GATEWAY_PORT_FIRST; free <= GATEWAY_PORT_LAST; free += 1) {
      if (this.#owners.has(free)) continue;
      this.#owners.set(free, name);
      return free;
    }
    throw new ApiError(507, 'NoPorts', `all ports of the nodes from ${GATEWAY_PORT_FIRST} to ${GATEWAY_PORT_LAST} are taken by gateways`);
  }
}

function serviceOf(id: GatewayId, ports: ReadonlyMap<number, number>, { objects }: Snapshot): ApiObject {
  const gateway = objects[`${GATEWAY} ${id.namespace}/${id.name}`]?.value;
  const spec = id.kind === GATEWAY ? record(gateway?.['spec']) : {};
  const { labels, annotations } = record(spec['infrastructure']);
  const uid = text(record(gateway?.['metadata'])['uid']);
  const [asked] = list(spec['addresses']).filter(({ type }) => type === undefined || type === 'IPAddress').flatMap(({ value }) => strings([value]));
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: serviceAccountOf(id),
      namespace: id.namespace,
      labels: { ...texts(labels), [GATEWAY_NAME]: id.name, [MANAGED_BY]: MANAGER },
      annotations: texts(annotations),
      ...(id.kind === GATEWAY && uid !== '' ? { ownerReferences: [{ apiVersion: text(gateway?.['apiVersion']), kind: 'Gateway', name: id.name, uid, controller: true }] } : {}),
    },
    spec: {
      type: 'LoadBalancer',
      // The client's address is kept, and no node passes on what it does not serve itself.
      externalTrafficPolicy: 'Local',
      ...(asked === undefined ? {} : { loadBalancerIP: asked }),
      ports: [...ports].map(([port, targetPort]) => ({ name: `port-${port}`, port, targetPort, protocol: 'TCP' })),
    },
  };
}

function keyOf({ kind, namespace, name }: GatewayId): string {
  return `${kind} ${namespace}/${name}`;
}

/** The same value with the members of its objects in one order, whoever wrote them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, sorted(member)]));
}
