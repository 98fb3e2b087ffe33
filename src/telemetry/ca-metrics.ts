/** The metrics of a CA, taken from its counts when somebody scrapes. */
import { Counter, Gauge, Registry } from 'prom-client';

/** What a CA counts. Times are in milliseconds since the epoch. */
export interface CaCounts {
  readonly issued: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly rotations: Readonly<Record<'root' | 'intermediate', number>>;
  readonly rootNotAfterMs: number;
  readonly intermediateNotAfterMs: number;
  readonly trustedRoots: number;
}

export class CaMetrics {
  readonly #registry = new Registry();

  constructor(counts: () => CaCounts) {
    this.gauge('orlop_ca_root_expiry_timestamp_seconds', 'When the root that signs expires, in seconds since the epoch', () => counts().rootNotAfterMs / 1000);
    this.gauge('orlop_ca_intermediate_expiry_timestamp_seconds', 'When the certificate that signs leaves expires, in seconds since the epoch', () => counts().intermediateNotAfterMs / 1000);
    this.gauge('orlop_ca_trusted_roots', 'Roots that are trusted; more than one while the root is being changed', () => counts().trustedRoots);
    this.counter('orlop_ca_certificates_issued_total', 'Certificates signed', [], () => [[{}, counts().issued]]);
    this.counter('orlop_ca_requests_refused_total', 'Requests refused, by reason', ['reason'], () => Object.entries(counts().refused).map(([reason, count]) => [{ reason }, count]));
    this.counter('orlop_ca_rotations_total', 'Changes of the certificate that signs, by kind', ['kind'], () => Object.entries(counts().rotations).map(([kind, count]) => [{ kind }, count]));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }

  protected gauge(name: string, help: string, value: () => number): void {
    this.#registry.registerMetric(new Gauge({ name, help, registers: [], collect() { this.set(value()); } }));
  }

  protected counter(name: string, help: string, labelNames: string[], values: () => readonly (readonly [labels: Record<string, string>, count: number])[]): void {
    const collect = function collect(this: Counter): void {
      this.reset();
      for (const [labels, count] of values()) this.inc(labels, count);
    };
    this.#registry.registerMetric(new Counter({ name, help, labelNames, registers: [], collect }));
  }
}
