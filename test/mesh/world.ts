/** Configurations for tests, written as a user would. */
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Problem } from '../../src/mesh/problem.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';

/** A snapshot of files by name. */
export function snapshotOf(files: Readonly<Record<string, string>>, previous?: Snapshot): Snapshot {
  return buildSnapshot(Object.entries(files).map(([name, text]) => ({ name, text })), previous);
}

/** What a user is told about a place: `file:line severity code field`. */
export function place({ file, line, severity, code, field }: Problem): string {
  return `${file}:${line} ${severity} ${code} ${field}`.trimEnd();
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
