/** Configurations for tests, written as a user would. */
import { buildSnapshot } from '../../src/mesh/build.ts';
import { compile } from '../../src/mesh/compile/compile.ts';
import type { RequestView } from '../../src/mesh/match.ts';
import type { Problem } from '../../src/mesh/problem.ts';
import { findRoute, findVirtualHost } from '../../src/mesh/route.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import type { Route, Table } from '../../src/mesh/table.ts';

/** A snapshot of files by name. */
export function snapshotOf(files: Readonly<Record<string, string>>, previous?: Snapshot): Snapshot {
  return buildSnapshot(Object.entries(files).map(([name, text]) => ({ name, text })), previous);
}

export function errors({ problems }: Snapshot): Problem[] {
  return problems.filter(({ severity }) => severity === 'error');
}

/** Services `names` in one namespace, with one pod for each of `versions`. */
export function application(namespace: string, names: readonly string[], versions: readonly string[] = ['v1']): string {
  let nth = 0;
  const documents = names.map((name, i) => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {clusterIP: 10.96.${namespace.length}.${i + 1}, selector: {app: ${name}}, ports: [{name: http, port: 9080}]}
${versions.map((version) => {
    nth += 1;
    return `---
apiVersion: v1
kind: Pod
metadata: {name: ${name}-${version}, namespace: ${namespace}, labels: {app: ${name}, version: ${version}}, annotations: {orlop.io/mesh: enabled}}
spec: {nodeName: node1, containers: [{name: app, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIPs: [{ip: 10.244.${namespace.length}.${nth}}], conditions: [{type: Ready, status: "True"}]}`;
  }).join('\n')}
`);
  return documents.join('---');
}

/** A request as a matcher sees it. */
export function request(authority: string, target = '/', headers: Readonly<Record<string, string>> = {}, method = 'GET'): RequestView {
  const [path, query = ''] = target.split('?') as [string, string?];
  return { method, path, query, scheme: 'http', authority, header: (name) => headers[name] };
}

/** The table of one workload, by `namespace/name`. */
export function tableOf(snapshot: Snapshot, id: string): Table {
  const workload = snapshot.workloads.find((one) => one.id === id);
  if (workload === undefined) throw new Error(`no workload ${id}`);
  return compile(snapshot, workload);
}

/** The route that a request from a workload takes on a port. */
export function routeOf(table: Table, asked: RequestView, port = 9080): Route | undefined {
  const host = findVirtualHost(table, port, undefined, asked.authority);
  return host === undefined ? undefined : findRoute(host, asked);
}

/** Where a route leads: share of the requests by cluster. */
export function shares(route: Route | undefined): Record<string, number> {
  if (route?.action.kind !== 'forward') throw new Error(`no route to clusters: ${route?.action.kind ?? 'none at all'}`);
  const { clusters, weightTotal } = route.action;
  return Object.fromEntries(clusters.map(({ cluster, weight }) => [cluster, weight / weightTotal]));
}
