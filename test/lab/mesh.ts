/** Lab files for tests about identities: pods with a service account of their own, and what they demand of each other. */
import type { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate } from '../../src/lab/mesh-view.ts';
import { join } from './topology.ts';

export const NAMESPACE = 'shop';

export interface MeshOptions {
  readonly nodes?: readonly string[];
  readonly control?: { readonly certificateLifetime?: string; readonly args?: readonly string[] };
  readonly agent?: { readonly args?: readonly string[] };
}

export interface PodOptions {
  readonly node?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly ports?: readonly { readonly name: string; readonly port: number }[];
  readonly namespace?: string;
  readonly probe?: boolean;
}

/** The Lab document and its enrolled namespace. */
export function mesh(name: string, { nodes = ['node1', 'node2'], control = {}, agent = {} }: MeshOptions = {}): string {
  return join([
    { apiVersion: 'lab.orlop.io/v1', kind: 'Lab', metadata: { name }, spec: { nodes: nodes.map((node) => ({ name: node })), control, agent } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, annotations: { 'orlop.io/mesh': 'enabled' } } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'outside' } },
  ]);
}

/** A pod whose service account has its own name. */
export function pod(name: string, { node, annotations = {}, labels = { app: name }, command = ['sleep', 'infinity'], env = {}, ports = [], namespace = NAMESPACE, probe = false }: PodOptions = {}): string {
  const container = {
    name: 'main',
    command,
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }, ...Object.entries(env).map(([key, value]) => ({ name: key, value }))],
    ports: ports.map(({ name: portName, port }) => ({ name: portName, containerPort: port })),
    ...(probe && { readinessProbe: { httpGet: { path: '/ready', port: 'http' }, periodSeconds: 1 } }),
  };
  return join([{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels, annotations }, spec: { serviceAccountName: name, ...(node !== undefined && { nodeName: node }), containers: [container] } }]);
}

/** An echo server on port 8080, and a Service of its name. */
export function echo(name: string, options: PodOptions = {}): string {
  return pod(name, { command: ['node', 'lab/apps/echo.ts'], ports: [{ name: 'http', port: 8080 }], probe: true, ...options, env: { APP: name, ...options.env } }) + service(name, [{ name: 'http', port: 8080 }], options);
}

export function service(name: string, ports: readonly { readonly name: string; readonly port: number }[], { namespace = NAMESPACE, labels = { app: name } }: PodOptions = {}): string {
  return join([{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { selector: { app: labels['app'] }, ports } }]);
}

/** The whole mesh demands mutual TLS. */
export const STRICT = 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n';

export function identityOf(account: string): string {
  return `spiffe://cluster.local/ns/${NAMESPACE}/sa/${account}`;
}

/** Apply objects, and wait until every agent follows them. */
export async function applied(lab: Lab, yaml: string): Promise<void> {
  await lab.apply(yaml);
  await agentsUpToDate(lab);
}

/** Resolves when every agent is ready and follows the configuration. */
export async function agentsReady(lab: Lab): Promise<void> {
  await lab.until(({ nodes }) => nodes.every(({ agent }) => agent.ready), { what: 'agents ready' });
  await agentsUpToDate(lab);
}
