/** What the backends of Gateway API routes are: clusters of Services, or the reason why they cannot be used. */
import { registryOf } from '../compile/registry.ts';
import type { RegistryPort, RegistryService } from '../compile/registry.ts';
import { clusterName } from '../compile/cluster-name.ts';
import type { Snapshot } from '../snapshot.ts';
import { isPermitted } from './grants.ts';
import { GATEWAY_GROUP } from './resources.ts';
import type { BackendReference, GatewayRoute } from './resources.ts';

/** Reasons of the condition ResolvedRefs (RouteConditionReason). */
export type BackendFault = 'InvalidKind' | 'RefNotPermitted' | 'BackendNotFound' | 'UnsupportedProtocol';

export interface InvalidBackend {
  readonly fault: BackendFault;
  readonly message: string;
}

export interface ResolvedBackend {
  readonly fault: undefined;
  /** Key of its cluster. */
  readonly cluster: string;
  readonly service: RegistryService;
  readonly port: RegistryPort;
}

export type Backend = ResolvedBackend | InvalidBackend;

const byName = new WeakMap<Snapshot, ReadonlyMap<string, RegistryService>>();

/**
 * The Service that a route names, whoever asks: `exportTo` is not a word of the Gateway API. `parent`: `ns/name` of the Service whose clients take
 * the route. They call it as it is, so that sending them there takes no grant; for a gateway it would open the Service to others.
 */
export function resolveBackend(ref: BackendReference, route: Pick<GatewayRoute, 'kind' | 'namespace'>, snapshot: Snapshot, parent?: string): Backend {
  const { group = '', kind = 'Service', name, namespace = route.namespace, port } = ref;
  if (group !== '' || kind !== 'Service') return invalid('InvalidKind', `backends of kind ${group === '' ? kind : `${kind}.${group}`} are not honoured; name a Service`);
  const permitted = `${namespace}/${name}` === parent || isPermitted(snapshot.gatewayApi.referenceGrants, { from: { group: GATEWAY_GROUP, kind: route.kind, namespace: route.namespace }, to: { group, kind, namespace, name } });
  if (!permitted) return invalid('RefNotPermitted', `no ReferenceGrant in ${namespace} lets a ${route.kind} of ${route.namespace} name Service ${name}`);
  const service = servicesByName(snapshot).get(`${namespace}/${name}`);
  if (service === undefined) return invalid('BackendNotFound', `there is no Service ${namespace}/${name}`);
  // It may stand for a Service of another namespace, past any ReferenceGrant (CVE-2021-25740).
  if (service.discovery === 'dns') return invalid('InvalidKind', `Service ${namespace}/${name} is an ExternalName, which no route may lead to`);
  const found = service.ports.find((one) => one.port === port);
  if (found === undefined) return invalid(hasDatagrams(snapshot, namespace, name, port) ? 'UnsupportedProtocol' : 'BackendNotFound', `Service ${namespace}/${name} has no TCP port ${port ?? '(none is named)'}`);
  return { fault: undefined, cluster: clusterName(found.port, '', service.host), service, port: found };
}

function invalid(fault: BackendFault, message: string): InvalidBackend {
  return { fault, message };
}

function hasDatagrams({ services }: Snapshot, namespace: string, name: string, port: number | undefined): boolean {
  return services.some(({ origin, ports }) => origin.namespace === namespace && origin.name === name && ports.some((one) => one.udp && one.port === port));
}

function servicesByName(snapshot: Snapshot): ReadonlyMap<string, RegistryService> {
  const known = byName.get(snapshot);
  if (known !== undefined) return known;
  const made = new Map(registryOf(snapshot).filter(({ kubernetes }) => kubernetes).map((service) => [`${service.ref.namespace}/${service.ref.name}`, service]));
  byName.set(snapshot, made);
  return made;
}
