/** Where a gateway listens: on which nodes, and on which of their ports. */
import { GATEWAY_PORT_FIRST, GATEWAY_PORT_LAST } from '../../core/ports.ts';
import { record, texts } from '../parse/json.ts';
import type { Snapshot } from '../snapshot.ts';
import { serversOf } from './istio-servers.ts';
import { GATEWAY } from './table.ts';
import type { GatewayId } from './table.ts';

/**
 * `hostPort`: the ports of its listeners are opened on the nodes themselves. `loadBalancer`: there is a Service of type LoadBalancer, which leads to
 * ports of the nodes that the control plane has chosen from a range of their own.
 */
export type GatewayMode = 'hostPort' | 'loadBalancer';

export interface Placement {
  readonly mode: GatewayMode;
  /** Labels that a node must have; none: every node serves it. */
  readonly nodeSelector: Readonly<Record<string, string>>;
  /** Why it is served nowhere. */
  readonly problem: string | undefined;
}

export const MODE_ANNOTATION = 'orlop.io/gateway-mode';
export const NODES_ANNOTATION = 'orlop.io/gateway-nodes';

/** Namespaces in which pods may have no ports of nodes (Pod Security Standards). */
const ENFORCE = 'pod-security.kubernetes.io/enforce';

/**
 * What the annotations of a gateway say, those of its own metadata before those of spec.infrastructure. Where there is no cluster, there are no Services:
 * `standalone` gateways listen on their nodes' own ports.
 */
export function placementOf(id: GatewayId, snapshot: Snapshot, standalone: boolean): Placement {
  const annotations = annotationsOf(id, snapshot);
  const nodeSelector = readSelector(annotations[NODES_ANNOTATION] ?? '');
  const wish = annotations[MODE_ANNOTATION];
  const mode = standalone || wish === 'hostPort' ? 'hostPort' : 'loadBalancer';
  return { mode, nodeSelector, problem: problemOf(id, wish, mode, snapshot, standalone) };
}

/** Does a node with these labels serve it? Undefined: its labels are not known. */
export function isPlacedOn({ nodeSelector, problem }: Placement, labels: Readonly<Record<string, string>> | undefined): boolean {
  return problem === undefined && Object.entries(nodeSelector).every(([key, value]) => labels?.[key] === value);
}

/** Ports of the nodes by port of the gateway; those that the control plane has not given one yet are missing. `name`: of the gateway's Service. */
export function nodePorts({ mode }: Placement, namespace: string, name: string, ports: Iterable<number>, snapshot: Snapshot): Map<number, number> {
  if (mode === 'hostPort') return new Map([...ports].map((port) => [port, port]));
  const service = snapshot.services.find(({ origin, selector }) => origin.namespace === namespace && origin.name === name && selector === undefined);
  const given = new Map((service?.ports ?? []).map(({ port, targetPort }) => [port, targetPort]));
  return new Map([...ports].flatMap((port): [number, number][] => {
    const target = given.get(port);
    // Whoever may write Services must not make agents listen wherever they like.
    return typeof target === 'number' && isGatewayPort(target) ? [[port, target]] : [];
  }));
}

/** Is it one of the ports that agents open for load balancers? */
export function isGatewayPort(port: number): boolean {
  return port >= GATEWAY_PORT_FIRST && port <= GATEWAY_PORT_LAST;
}

/** The account of its identity, and the name of its Service, in its namespace. */
export function serviceAccountOf({ name }: GatewayId): string {
  return `${name}-orlop`;
}

function problemOf(id: GatewayId, wish: string | undefined, mode: GatewayMode, snapshot: Snapshot, standalone: boolean): string | undefined {
  if (wish !== undefined && wish !== 'hostPort' && wish !== 'loadBalancer') return `${MODE_ANNOTATION}: "${wish}" is neither hostPort nor loadBalancer`;
  const level = snapshot.namespaceLabels[id.namespace]?.[ENFORCE];
  if (!standalone && mode === 'hostPort' && (level === 'baseline' || level === 'restricted')) return `${MODE_ANNOTATION}: hostPort is not allowed in namespace ${id.namespace}, which enforces the Pod Security level ${level}`;
  return undefined;
}

/** Istio's Gateways are one gateway together: the oldest that says something decides. */
function annotationsOf({ kind, namespace, name }: GatewayId, snapshot: Snapshot): Readonly<Record<string, string>> {
  if (kind === GATEWAY) return annotationsAt(`${kind} ${namespace}/${name}`, snapshot);
  const gateways = new Set([...serversOf(snapshot).ports.values()].flat().map(({ gateway }) => gateway));
  return Object.assign({}, ...snapshot.istioGateways.filter((gateway) => gateways.has(gateway)).map((gateway) => annotationsAt(`${kind} ${gateway.namespace}/${gateway.name}`, snapshot)).reverse()) as Readonly<Record<string, string>>;
}

function annotationsAt(key: string, { objects }: Snapshot): Readonly<Record<string, string>> {
  const value = objects[key]?.value ?? {};
  const { annotations: ofInfrastructure } = record(record(value['spec'])['infrastructure']);
  return { ...texts(ofInfrastructure), ...texts(record(value['metadata'])['annotations']) };
}

/** `disk=ssd,zone=a`; a key alone stands for an empty value, as labels of roles have it. */
function readSelector(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(text.split(',').map((part) => part.trim()).filter((part) => part !== '').map((part) => {
    const [key = '', value = ''] = part.split('=').map((side) => side.trim());
    return [key, value];
  }));
}
