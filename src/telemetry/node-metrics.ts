/**
 * The node's metrics: the workers' counts added up and rendered by prom-client when somebody scrapes. What a worker had counted
 * when it died stays in the sums, so that no counter goes backwards.
 */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Metric } from 'prom-client';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { HistogramData, HttpCell, TcpCell } from './cells.ts';
import { BUCKETS } from './labels.ts';
import type { EdgeLabels } from './labels.ts';
import type { WorkerCounts } from './worker-telemetry.ts';

interface Value {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  readonly metricName?: string;
}

/** Of an issuer's state, what is counted. */
export interface CertifiedIdentity {
  readonly identity: string;
  readonly state: 'requested' | 'valid' | 'stale' | 'expired';
  readonly certificate: { readonly notAfterMs: number } | undefined;
}

export class NodeMetrics {
  readonly #registry = new Registry();
  readonly #last = new Map<string, WorkerCounts>();
  readonly #dead: WorkerCounts[] = [];
  #counts: readonly WorkerCounts[] = [];
  readonly #restarts: Counter;
  readonly #repairs: Counter;
  readonly #podsRepaired: Counter;
  readonly #cniAnswers: Counter<'outcome'>;
  readonly #cniRepairs: Counter;
  readonly #pods: Gauge;
  readonly #version: Gauge;
  readonly #problems: Gauge<'severity'>;
  readonly #followed: Gauge;
  readonly #certificates: Gauge<'state'>;
  readonly #certificateExpiry: Gauge<'identity'>;

  constructor(version = '0.1.0') {
    const registers = [this.#registry];
    this.#addIstio();
    new Gauge({ name: 'istio_build', help: 'Build of the component', labelNames: ['component', 'tag'], registers }).set({ component: 'orlop-agent', tag: version }, 1);
    this.#restarts = new Counter({ name: 'orlop_worker_restarts_total', help: 'Worker threads that died and were replaced', registers });
    this.#repairs = new Counter({ name: 'orlop_redirect_repairs_total', help: 'Differences in capture that were repaired', registers });
    this.#podsRepaired = new Counter({ name: 'orlop_pods_repaired_total', help: 'Pods that had come up outside the mesh and were joined while they ran', registers });
    this.#cniAnswers = new Counter({ name: 'orlop_cni_answers_total', help: 'Pods that were about to start and asked for, by what became of it', labelNames: ['outcome'], registers });
    this.#cniRepairs = new Counter({ name: 'orlop_cni_repairs_total', help: 'Times that the CNI plugin had been removed by somebody else and was put back', registers });
    this.#pods = new Gauge({ name: 'orlop_enrolled_pods', help: 'Pods of this node that take part in the mesh', registers });
    this.#version = new Gauge({ name: 'orlop_config_version', help: 'Version of the configuration in force', registers });
    this.#problems = new Gauge({ name: 'orlop_config_problems', help: 'Problems of the configuration', labelNames: ['severity'], registers });
    this.#followed = new Gauge({ name: 'orlop_config_followed', help: 'Whether the source of the configuration is being followed (1), or what was known before is in force (0)', registers });
    this.#certificates = new Gauge({ name: 'orlop_certificates', help: 'Identities of this node, by the state of their certificates', labelNames: ['state'], registers });
    this.#certificateExpiry = new Gauge({ name: 'orlop_certificate_expiry_timestamp_seconds', help: 'When the certificate of an identity expires', labelNames: ['identity'], registers });
    this.#add('orlop_local_replies_total', 'Exchanges that the agent itself ended, by reason', 'counter', () => this.#localReplies());
    this.#add('orlop_access_log_dropped_total', 'Access log lines that standard output did not take', 'counter', () => [
      { labels: {}, value: this.#counts.reduce((sum, { droppedLogLines }) => sum + droppedLogLines, 0) },
    ]);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  workerRestarted(name: string): void {
    this.#restarts.inc();
    const counts = this.#last.get(name);
    this.#last.delete(name);
    if (counts !== undefined) this.#dead.push(counts);
  }

  driftRepaired(count: number): void {
    this.#repairs.inc(count);
  }

  podRepaired(): void {
    this.#podsRepaired.inc();
  }

  cniAnswered(answer: 'enrolled' | 'not_enrolled' | 'failed'): void {
    this.#cniAnswers.inc({ outcome: answer });
  }

  cniRepaired(): void {
    this.#cniRepairs.inc();
  }

  configured(snapshot: Snapshot, enrolledPods: number): void {
    this.#version.set(snapshot.version);
    this.#pods.set(enrolledPods);
    for (const severity of ['error', 'warning', 'info'] as const) {
      this.#problems.set({ severity }, snapshot.problems.filter((problem) => problem.severity === severity).length);
    }
  }

  followed(isFollowed: boolean): void {
    this.#followed.set(isFollowed ? 1 : 0);
  }

  /** Every identity of this node, as its issuer has it now. */
  certified(identities: readonly CertifiedIdentity[]): void {
    this.#certificates.reset();
    for (const state of ['requested', 'valid', 'stale', 'expired'] as const) this.#certificates.set({ state }, identities.filter((identity) => identity.state === state).length);
    this.#certificateExpiry.reset();
    for (const { identity, certificate } of identities) if (certificate !== undefined) this.#certificateExpiry.set({ identity }, certificate.notAfterMs / 1000);
  }

  /** The exposition text; `collected` holds the counts of every worker that answered, by its name. */
  async render(collected: ReadonlyMap<string, WorkerCounts>): Promise<string> {
    for (const [name, counts] of collected) this.#last.set(name, counts);
    this.#counts = [...this.#dead, ...this.#last.values()];
    return this.#registry.metrics();
  }

  #addIstio(): void {
    const http = (name: string, help: string, of: (cell: HttpCell) => HistogramData): void => {
      this.#add(name, help, 'histogram', () => this.#histograms(name, of));
    };
    this.#add('istio_requests_total', 'Requests', 'counter', () => this.#sum(httpOutcomes, ({ requests }) => requests));
    http('istio_request_duration_milliseconds', 'Duration of requests', ({ durationMs }) => durationMs);
    http('istio_request_bytes', 'Size of requests', ({ requestBytes }) => requestBytes);
    http('istio_response_bytes', 'Size of responses', ({ responseBytes }) => responseBytes);
    this.#add('istio_tcp_sent_bytes_total', 'Bytes sent to clients', 'counter', () => this.#sum(tcpOutcomes, ({ sent }) => sent));
    this.#add('istio_tcp_received_bytes_total', 'Bytes received from clients', 'counter', () => this.#sum(tcpOutcomes, ({ received }) => received));
    this.#add('istio_tcp_connections_opened_total', 'Connections opened', 'counter', () => this.#sum(tcpOutcomes, ({ opened }) => opened));
    this.#add('istio_tcp_connections_closed_total', 'Connections closed', 'counter', () => this.#sum(tcpOutcomes, ({ closed }) => closed));
  }

  /** prom-client asks a metric for its values when it renders; these come from the workers' counts. */
  #add(name: string, help: string, type: 'counter' | 'histogram', values: () => Value[]): void {
    this.#registry.registerMetric({ name, help, type, aggregator: 'sum', get: async () => ({ name, help, type, aggregator: 'sum', values: values() }), reset: () => undefined } as unknown as Metric);
  }

  #sum<C>(outcomes: (counts: WorkerCounts) => Outcome<C>[], of: (cell: C) => number): Value[] {
    const values = new Map<string, { labels: Outcome<C>['labels']; value: number }>();
    for (const { key, labels, cell } of this.#counts.flatMap(outcomes)) {
      const known = values.get(key);
      if (known === undefined) values.set(key, { labels, value: of(cell) });
      else known.value += of(cell);
    }
    return [...values.values()];
  }

  #histograms(name: string, of: (cell: HttpCell) => HistogramData): Value[] {
    const merged = new Map<string, { labels: Outcome<HttpCell>['labels']; counts: number[]; sum: number }>();
    for (const { key, labels, cell } of this.#counts.flatMap(httpOutcomes)) {
      const { counts, sum } = of(cell);
      const known = merged.get(key);
      if (known === undefined) {
        merged.set(key, { labels, counts: [...counts], sum });
        continue;
      }
      known.sum += sum;
      for (const [i, count] of counts.entries()) known.counts[i] = (known.counts[i] ?? 0) + count;
    }
    return [...merged.values()].flatMap(({ labels, counts, sum }) => histogramValues(name, labels, counts, sum));
  }

  #localReplies(): Value[] {
    const totals = new Map<string, number>();
    for (const { localReplies } of this.#counts) {
      for (const [reason, count] of Object.entries(localReplies)) totals.set(reason, (totals.get(reason) ?? 0) + count);
    }
    return [...totals].map(([reason, value]) => ({ labels: { reason }, value }));
  }
}

interface Outcome<C> {
  /** Equal for equal labels. */
  readonly key: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly cell: C;
}

/** Istio's order: code, gRPC status and flags stand before the security policy. */
function httpOutcomes({ edges }: WorkerCounts): Outcome<HttpCell>[] {
  return edges.flatMap(({ labels, http }) =>
    http.map((cell) => outcome(labels, { response_code: String(cell.code), grpc_response_status: cell.grpcStatus, response_flags: cell.flags || '-' }, cell)),
  );
}

function tcpOutcomes({ edges }: WorkerCounts): Outcome<TcpCell>[] {
  return edges.flatMap(({ labels, tcp }) => tcp.map((cell) => outcome(labels, { response_flags: cell.flags || '-' }, cell)));
}

function outcome<C>({ connection_security_policy, ...before }: EdgeLabels, own: Readonly<Record<string, string>>, cell: C): Outcome<C> {
  const labels = { ...before, ...own, connection_security_policy };
  return { key: Object.values(labels).join('\0'), labels, cell };
}

function histogramValues(name: string, labels: Readonly<Record<string, string>>, counts: readonly number[], sum: number): Value[] {
  let count = 0;
  const values: Value[] = counts.map((inBucket, i) => {
    count += inBucket;
    return { labels: { ...labels, le: BUCKETS[i] ?? '+Inf' }, value: count, metricName: `${name}_bucket` };
  });
  values.push({ labels, value: sum, metricName: `${name}_sum` }, { labels, value: count, metricName: `${name}_count` });
  return values;
}
