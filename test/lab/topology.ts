/** Lab files for tests: services made of the echo application, with versions and places as a test needs them. */

export interface Version {
  /** `version` label. */
  readonly version: string;
  readonly node?: string;
  readonly replicas?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Instead of the echo application. */
  readonly command?: readonly string[];
}

const NAMESPACE = 'default';

/** A Lab document with these nodes, and the namespace enrolled. */
export function labOf(name: string, nodes: readonly string[], hosts: Readonly<Record<string, readonly string[]>> = {}): string {
  return join([
    { apiVersion: 'lab.orlop.io/v1', kind: 'Lab', metadata: { name }, spec: { nodes: nodes.map((node) => ({ name: node })), hosts } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, annotations: { 'orlop.io/mesh': 'enabled' } } },
  ]);
}

/** A Service `app` on port 8080 named http, and a Deployment per version. */
export function echoService(app: string, versions: readonly Version[]): string {
  return join([
    { apiVersion: 'v1', kind: 'Service', metadata: { name: app, namespace: NAMESPACE }, spec: { selector: { app }, ports: [{ name: 'http', port: 8080 }] } },
    ...versions.map((version) => deployment(app, version)),
  ]);
}

function deployment(app: string, { version, node, replicas = 1, labels = {}, command }: Version): object {
  const all = { app, version, ...labels };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: `${app}-${version}`, namespace: NAMESPACE },
    spec: {
      replicas,
      selector: { matchLabels: { app, version } },
      template: { metadata: { labels: all }, spec: { ...(node !== undefined && { nodeName: node }), containers: [container(app, version, command)] } },
    },
  };
}

function container(app: string, version: string, command: readonly string[] | undefined): object {
  if (command !== undefined) return { name: 'main', command };
  return {
    name: 'main',
    command: ['node', 'lab/apps/echo.ts'],
    env: [
      { name: 'APP', value: app },
      { name: 'VERSION', value: version },
      { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    ],
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/ready', port: 'http' } },
  };
}

/** A pod that does nothing until a test runs something in it. */
export function shell(name: string, labels: Readonly<Record<string, string>>, node?: string, annotations: Readonly<Record<string, string>> = {}): string {
  return join([{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: NAMESPACE, labels, annotations }, spec: { ...(node !== undefined && { nodeName: node }), containers: [{ name: 'shell', command: ['sleep', 'infinity'] }] } }]);
}

/** JSON is YAML. */
export function join(documents: readonly object[]): string {
  return documents.map((document) => `---\n${JSON.stringify(document)}\n`).join('');
}

/** A share of `n` trials within five standard deviations: fails by chance less than once in a million runs. */
export function within(count: number, n: number, share: number): { readonly low: number; readonly high: number; readonly ok: boolean } {
  const margin = 5 * Math.sqrt(n * share * (1 - share));
  const low = n * share - margin;
  const high = n * share + margin;
  return { low, high, ok: count >= low && count <= high };
}
