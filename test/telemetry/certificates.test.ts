import { describe, expect, it } from 'vitest';
import { CaMetrics } from '../../src/telemetry/ca-metrics.ts';
import type { CaCounts } from '../../src/telemetry/ca-metrics.ts';
import { NodeMetrics } from '../../src/telemetry/node-metrics.ts';

const REVIEWS = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
const RATINGS = 'spiffe://cluster.local/ns/bookinfo/sa/ratings';

describe('metrics of a node\'s certificates', () => {
  it('say how many are in which state, and when each expires; an identity that was released is no longer listed', async () => {
    const metrics = new NodeMetrics();
    metrics.certified([
      { identity: REVIEWS, state: 'stale', certificate: { notAfterMs: 1_767_225_600_000 } },
      { identity: RATINGS, state: 'requested', certificate: undefined },
    ]);
    const text = await metrics.render(new Map());
    expect(text).toContain('orlop_certificates{state="stale"} 1\n');
    expect(text).toContain('orlop_certificates{state="requested"} 1\n');
    expect(text).toContain('orlop_certificates{state="valid"} 0\n');
    expect(text).toContain(`orlop_certificate_expiry_timestamp_seconds{identity="${REVIEWS}"} 1767225600\n`);
    expect(text).not.toContain(RATINGS);
    metrics.certified([]);
    expect(await metrics.render(new Map())).not.toContain(REVIEWS);
  });
});

describe('metrics of a CA', () => {
  it('are its counts at the moment of the scrape', async () => {
    let counts: CaCounts = { issued: 1, refused: { unauthenticated: 2 }, rotations: { root: 0, intermediate: 1 }, rootNotAfterMs: 2_000_000, intermediateNotAfterMs: 1_000_000, trustedRoots: 1 };
    const metrics = new CaMetrics(() => counts);
    await metrics.render();
    counts = { ...counts, issued: 5 };
    const text = await metrics.render();
    expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([
      'orlop_ca_root_expiry_timestamp_seconds 2000',
      'orlop_ca_intermediate_expiry_timestamp_seconds 1000',
      'orlop_ca_trusted_roots 1',
      'orlop_ca_certificates_issued_total 5',
      'orlop_ca_requests_refused_total{reason="unauthenticated"} 2',
      'orlop_ca_rotations_total{kind="root"} 0',
      'orlop_ca_rotations_total{kind="intermediate"} 1',
    ]);
  });
});
