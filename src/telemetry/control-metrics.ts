/** The metrics of a control plane in a cluster: of its CA, of what it was asked before objects were stored, and of what it wrote into their status. */
import { CaMetrics } from './ca-metrics.ts';
import type { CaCounts } from './ca-metrics.ts';

export interface ControlCounts {
  readonly leads: boolean;
  /** By how they ended. */
  readonly reviews: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
}

export class ControlMetrics extends CaMetrics {
  constructor(ca: () => CaCounts, control: () => ControlCounts) {
    super(ca);
    this.gauge('orlop_control_leader', 'Does this replica take the steps that only one may take', () => Number(control().leads));
    this.counter('orlop_admission_reviews_total', 'Objects judged before they were stored, by outcome; those that failed were stored unjudged', ['outcome'], () => byOutcome(control().reviews));
    this.counter('orlop_status_writes_total', 'Writes of the status of objects, by outcome; what failed or conflicted is tried again', ['outcome'], () => byOutcome(control().statuses));
  }
}

function byOutcome(counts: Readonly<Record<string, number>>): [Record<string, string>, number][] {
  return Object.entries(counts).map(([outcome, count]) => [{ outcome }, count]);
}
