/** Steady requests from pods on every node of a test cluster, and what has come of them. */
import type { Cluster } from '../cluster/cluster.ts';
import { runCommand } from '../../../src/lab/command.ts';
import { CHECKOUT, NODE_IMAGE } from '../story/bookinfo.ts';
import { REPORT_PORT } from './request-loop.ts';
import type { Failure, LoopReport } from './request-loop.ts';

/** What happened between two moments. */
export interface Passed {
  readonly requests: number;
  readonly failed: number;
  readonly slowestMs: number;
  readonly failures: readonly Failure[];
}

/** Requests that must all be answered before traffic counts as flowing again. */
const FLOWING_REQUESTS = 200;
const FLOWING_AFTER_MS = 120_000;
/** Of each client. */
export const REQUESTS_AT_A_TIME = 4;

/** A pod that runs a program of this checkout with the Node of Orlop's image. */
export function programPod(name: string, namespace: string, { argv, nodeName, labels = { app: name }, annotations = {}, port }: {
  argv: readonly string[]; nodeName?: string; labels?: Readonly<Record<string, string>>; annotations?: Readonly<Record<string, string>>; port?: number;
}): object {
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels, annotations },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      terminationGracePeriodSeconds: 15,
      // The checkout may be in a home that is its owner's alone.
      securityContext: { runAsUser: 0, runAsGroup: 0 },
      containers: [{
        name: 'program', image: NODE_IMAGE, imagePullPolicy: 'Never', command: ['/usr/bin/node', ...argv], workingDir: CHECKOUT,
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: ['DAC_READ_SEARCH'] } },
        volumeMounts: [{ name: 'checkout', mountPath: CHECKOUT, readOnly: true }],
        ...(port === undefined ? {} : { ports: [{ containerPort: port }], readinessProbe: { httpGet: { path: '/', port }, periodSeconds: 1 } }),
      }],
      volumes: [{ name: 'checkout', hostPath: { path: CHECKOUT, type: 'Directory' } }],
    },
  };
}

export class Traffic {
  readonly #cluster: Cluster;
  readonly #namespace: string;
  /** Addresses of the clients. */
  #clients: readonly string[] = [];
  /** Of the answers of which a report has told since {@link during} began. */
  #slowestMs = 0;

  private constructor(cluster: Cluster, namespace: string) {
    this.#cluster = cluster;
    this.#namespace = namespace;
  }

  /** A client on each node, with these annotations `more`; resolves when all is answered. */
  static async start(cluster: Cluster, namespace: string, urls: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Traffic> {
    const traffic = new Traffic(cluster, namespace);
    const argv = ['test/kube/traffic/request-loop.ts', String(REQUESTS_AT_A_TIME), ...urls];
    // Its report is asked for whatever becomes of the mesh.
    const annotations = { ...more, 'orlop.io/exclude-inbound-ports': String(REPORT_PORT) };
    await cluster.apply(cluster.nodes.map(({ name }, i) => programPod(`client-${i + 1}`, namespace, { argv, nodeName: name, annotations, labels: { app: 'client' }, port: REPORT_PORT })));
    await cluster.kubectl(['wait', '--for=condition=Ready', 'pod', '-n', namespace, '-l', 'app=client', '--timeout=120s']);
    traffic.#clients = (await cluster.kubectl(['get', 'pods', '-n', namespace, '-l', 'app=client', '-o', 'jsonpath={.items[*].status.podIP}'])).split(' ');
    await traffic.untilFlowing();
    return traffic;
  }

  /** What becomes of requests while something happens. */
  async during(happening: () => Promise<unknown>): Promise<Passed> {
    const before = await this.#reports();
    const outer = this.#slowestMs;
    this.#slowestMs = 0;
    await happening();
    const after = await this.#reports();
    const slowestMs = this.#slowestMs;
    // It may be part of something longer.
    this.#slowestMs = Math.max(outer, slowestMs);
    const failed = after.map((report, i) => report.failed - (before[i]?.failed ?? 0));
    return {
      requests: after.reduce((sum, { requests }) => sum + requests, 0) - before.reduce((sum, { requests }) => sum + requests, 0),
      failed: failed.reduce((sum, count) => sum + count, 0),
      slowestMs,
      failures: after.flatMap(({ failures }, i) => failures.slice(failures.length - Math.min(failures.length, failed[i] ?? 0))),
    };
  }

  /** Wait until requests are answered again, on all nodes; some time after, none may have failed any more. */
  async untilFlowing(): Promise<void> {
    let last: Passed | undefined;
    const isFlowing = async (): Promise<boolean> => {
      last = await this.during(async () => this.#untilAsked(FLOWING_REQUESTS));
      return last.failed === 0;
    };
    await this.#cluster.until('requests answered again', isFlowing, FLOWING_AFTER_MS).catch((error: unknown) => {
      throw last === undefined ? error : new Error(tell('requests are not answered again', last), { cause: error });
    });
  }

  async #untilAsked(requests: number): Promise<void> {
    const before = await this.#reports();
    await this.#cluster.until('requests sent', async () => (await this.#reports()).every((report, i) => report.requests >= (before[i]?.requests ?? 0) + requests), 60_000);
  }

  async #reports(): Promise<LoopReport[]> {
    const [node] = this.#cluster.nodes;
    const reports = await Promise.all(this.#clients.map(async (address) => {
      const { code, stdout, stderr } = await runCommand('ip', ['netns', 'exec', node?.names.netns ?? '', 'curl', '-fsS', '-m', '10', `http://${address}:${REPORT_PORT}/report`]);
      if (code !== 0) throw new Error(`client ${address} of ${this.#namespace} does not report: ${stderr}`);
      return JSON.parse(stdout) as LoopReport;
    }));
    this.#slowestMs = Math.max(this.#slowestMs, ...reports.map(({ slowestMs }) => slowestMs));
    return reports;
  }
}

/** For the log of a test: one line, with what failed by its reason. */
export function tell(what: string, { requests, failed, slowestMs, failures }: Passed): string {
  const reasons = [...Map.groupBy(failures, ({ reason }) => reason)].map(([reason, all]) => `${all.length} × ${reason}`);
  const spanMs = failures.length === 0 ? 0 : Math.max(...failures.map(({ atMs }) => atMs)) - Math.min(...failures.map(({ atMs }) => atMs));
  return `${what}: ${failed} of ${requests} requests failed${failed === 0 ? '' : ` within ${(spanMs / 1000).toFixed(1)} s (${reasons.join('; ')})`}; the slowest answer took ${slowestMs} ms`;
}
