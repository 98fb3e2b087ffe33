import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../src/core/clock.ts';
import { METRIC_IDLE_MS } from '../../src/core/limits.ts';
import { createLogger } from '../../src/core/log.ts';
import { parseSeries, total } from '../../src/lab/mesh-view.ts';
import type { Series } from '../../src/lab/mesh-view.ts';
import { NodeMetrics } from '../../src/telemetry/node-metrics.ts';
import { WorkerTelemetry } from '../../src/telemetry/worker-telemetry.ts';
import { facts, serverFacts, snapshotWith } from './facts.ts';

/** Istio's standard labels in Istio's order (reference of the standard metrics). */
const HTTP_LABELS = (
  'reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace source_principal source_app source_version source_cluster ' +
  'destination_workload destination_workload_namespace destination_principal destination_app destination_version destination_service destination_canonical_service ' +
  'destination_canonical_revision destination_service_name destination_service_namespace destination_cluster request_protocol response_code grpc_response_status ' +
  'response_flags connection_security_policy'
).split(' ');
const TCP_LABELS = HTTP_LABELS.filter((label) => label !== 'response_code' && label !== 'grpc_response_status');

class Node {
  readonly clock = new FakeClock();
  readonly worker = new WorkerTelemetry(this.clock, createLogger('test', 'silent'));
  readonly metrics = new NodeMetrics();

  constructor() {
    this.worker.use(snapshotWith(), undefined);
  }

  async text(): Promise<string> {
    return this.metrics.render(new Map([['worker-0', structuredClone(this.worker.collect())]]));
  }

  async series(): Promise<Series[]> {
    return parseSeries(await this.text());
  }
}

describe('istio_* metrics', () => {
  it('have the 25 labels of the HTTP series in order, with Istio\'s values at the client', async () => {
    const node = new Node();
    node.worker.exchangeEnded(facts(), 12);
    const [one] = (await node.series()).filter(({ name }) => name === 'istio_requests_total');
    expect(Object.keys(one?.labels ?? {})).toEqual(HTTP_LABELS);
    expect(one).toMatchObject({
      value: 1,
      labels: {
        reporter: 'source', source_workload: 'productpage-v1', source_workload_namespace: 'shop', source_app: 'productpage', source_version: 'v1',
        source_canonical_service: 'productpage', source_canonical_revision: 'v1', source_principal: 'spiffe://cluster.local/ns/shop/sa/default', destination_principal: 'spiffe://cluster.local/ns/shop/sa/default',
        destination_workload: 'reviews-v2', destination_workload_namespace: 'shop', destination_app: 'reviews', destination_version: 'v2',
        destination_service: 'reviews.shop.svc.cluster.local', destination_service_name: 'reviews', destination_service_namespace: 'shop',
        request_protocol: 'http', response_code: '200', grpc_response_status: '', response_flags: '-', connection_security_policy: 'unknown',
      },
    });
  });

  it('find the client by its address at the server, and know the security there', async () => {
    const node = new Node();
    node.worker.exchangeEnded(serverFacts(), 12);
    node.worker.exchangeEnded(serverFacts({ connection: { ...serverFacts().connection, remoteAddress: '192.0.2.9' } }), 12);
    const series = await node.series();
    expect(total(series, 'istio_requests_total', { reporter: 'destination', source_workload: 'productpage-v1', connection_security_policy: 'none' })).toBe(1);
    expect(total(series, 'istio_requests_total', { reporter: 'destination', source_workload: 'unknown', source_canonical_revision: 'latest' })).toBe(1);
  });

  it('name both ends by what they have proved; how, only at the server', async () => {
    const node = new Node();
    const identity = 'spiffe://cluster.local/ns/shop/sa/productpage';
    const from = (peer: { identity: string; security: 'none' | 'mutual_tls' | 'local' }): ReturnType<typeof serverFacts> => serverFacts({ connection: { ...serverFacts().connection, peer } });
    node.worker.exchangeEnded(from({ identity, security: 'mutual_tls' }), 12);
    node.worker.exchangeEnded(from({ identity, security: 'local' }), 12);
    node.worker.exchangeEnded(from({ identity: '', security: 'none' }), 12);
    node.worker.exchangeEnded(facts(), 12);
    node.worker.exchangeEnded(facts({ upstreamWorkload: undefined }), 12);
    const series = await node.series();
    const secure = { reporter: 'destination', connection_security_policy: 'mutual_tls', source_principal: identity, destination_principal: 'spiffe://cluster.local/ns/shop/sa/default' };
    expect(total(series, 'istio_requests_total', secure)).toBe(2);
    expect(total(series, 'istio_requests_total', { reporter: 'destination', connection_security_policy: 'none', source_principal: 'unknown', destination_principal: 'unknown' })).toBe(1);
    expect(total(series, 'istio_requests_total', { reporter: 'source', connection_security_policy: 'unknown', source_principal: 'spiffe://cluster.local/ns/shop/sa/default', destination_principal: 'spiffe://cluster.local/ns/shop/sa/default' })).toBe(1);
    // Somebody outside the mesh proves nothing.
    expect(total(series, 'istio_requests_total', { reporter: 'source', connection_security_policy: 'unknown', source_principal: 'unknown', destination_principal: 'unknown' })).toBe(1);
  });

  it('sort durations and sizes into Envoy\'s buckets', async () => {
    const node = new Node();
    for (const ms of [0.4, 3, 40, 40, 4_000_000]) node.worker.exchangeEnded(facts(), ms);
    const series = await node.series();
    const bucket = (le: string): number => total(series, 'istio_request_duration_milliseconds_bucket', { le });
    expect([bucket('0.5'), bucket('1'), bucket('5'), bucket('25'), bucket('50'), bucket('3600000'), bucket('+Inf')]).toEqual([1, 1, 2, 2, 4, 4, 5]);
    expect(total(series, 'istio_request_duration_milliseconds_count')).toBe(5);
    expect(total(series, 'istio_request_duration_milliseconds_sum')).toBeCloseTo(4_000_083.4);
    expect(total(series, 'istio_request_bytes_sum')).toBe(600);
    expect(total(series, 'istio_response_bytes_sum')).toBe(4500);
  });

  it('count opaque connections and their bytes, without codes', async () => {
    const node = new Node();
    const tcp = facts({ protocol: 'tcp', status: 0 });
    node.worker.tcpOpened(tcp);
    node.worker.tcpBytes(tcp, 10, 2000);
    node.worker.tcpBytes(tcp, 5, 0);
    node.worker.tcpClosed(tcp, 50);
    const series = await node.series();
    for (const [name, value] of [['opened', 1], ['closed', 1]] as const) expect(total(series, `istio_tcp_connections_${name}_total`)).toBe(value);
    expect(total(series, 'istio_tcp_received_bytes_total')).toBe(15);
    expect(total(series, 'istio_tcp_sent_bytes_total')).toBe(2000);
    const [one] = series.filter(({ name }) => name === 'istio_tcp_sent_bytes_total');
    expect(Object.keys(one?.labels ?? {})).toEqual(TCP_LABELS);
  });

  it('name what is outside the registry as Istio does, and never by a Host that a client made up', async () => {
    const node = new Node();
    const outside = { service: undefined, upstreamWorkload: undefined };
    node.worker.exchangeEnded(facts({ ...outside, authority: 'made-up.example', status: 502, error: { code: 'blocked_by_registry_only', message: '', at: undefined } }), 1);
    node.worker.exchangeEnded(serverFacts({ ...outside, authority: 'other.example' }), 1);
    const text = await node.text();
    const series = parseSeries(text);
    expect(total(series, 'istio_requests_total', { destination_service_name: 'BlackHoleCluster' })).toBe(1);
    expect(total(series, 'istio_requests_total', { destination_service_name: 'InboundPassthroughCluster' })).toBe(1);
    expect(text).not.toMatch(/made-up|other\.example/);
  });

  it('never go backwards when a worker dies, and add up over workers', async () => {
    const metrics = new NodeMetrics();
    const counts = (requests: number): ReturnType<WorkerTelemetry['collect']> => {
      const worker = new WorkerTelemetry(new FakeClock(), createLogger('test', 'silent'));
      worker.use(snapshotWith(), undefined);
      for (let i = 0; i < requests; i += 1) worker.exchangeEnded(facts(), 1);
      return worker.collect();
    };
    const scraped = async (workers: ReadonlyMap<string, ReturnType<typeof counts>>): Promise<number> => total(parseSeries(await metrics.render(workers)), 'istio_requests_total');
    expect(await scraped(new Map([['a', counts(3)], ['b', counts(4)]]))).toBe(7);
    metrics.workerRestarted('a');
    expect(await scraped(new Map([['a', counts(0)], ['b', counts(4)]]))).toBe(7);
    expect(await scraped(new Map([['a', counts(2)], ['b', counts(5)]]))).toBe(10);
  });

  it('forget series that counted nothing for ten minutes', async () => {
    const node = new Node();
    node.worker.exchangeEnded(facts(), 1);
    node.clock.advance(METRIC_IDLE_MS - 1000);
    node.worker.exchangeEnded(serverFacts(), 1);
    node.clock.advance(120_000);
    const series = await node.series();
    expect(total(series, 'istio_requests_total', { reporter: 'source' })).toBe(0);
    expect(total(series, 'istio_requests_total', { reporter: 'destination' })).toBe(1);
  });

  it('keep counting where they were when the configuration changes', async () => {
    const node = new Node();
    node.worker.exchangeEnded(facts(), 1);
    node.worker.use(snapshotWith(), undefined);
    node.worker.exchangeEnded(facts(), 1);
    expect((await node.series()).filter(({ name }) => name === 'istio_requests_total').map(({ value }) => value)).toEqual([2]);
  });

  it('are text that promtool can parse', async () => {
    const node = new Node();
    node.worker.exchangeEnded(facts({ flags: 'UF,URX', status: 503 }), 12);
    node.worker.tcpOpened(facts({ protocol: 'tcp' }));
    const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: await node.text(), encoding: 'utf8' });
    // 1 is a parse error; 3 is its lint, which dislikes Istio's own unit of milliseconds.
    expect([0, 3], stderr).toContain(status);
  });
});
