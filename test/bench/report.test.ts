import { expect, test } from 'vitest';

import { renderFigure, renderReport, renderTable } from '../../bench/report.ts';
import type { CaseResult, RunResult } from '../../bench/results.ts';

const keepalive: CaseResult = {
  key: 'keepalive',
  title: 'HTTP/1.1 keep-alive',
  metrics: [{ key: 'cpuUsPerRequest', label: 'CPU µs/request', digits: 1, compared: true }, { key: 'requestsPerSecond', label: 'requests/s', digits: 0 }],
  baselines: ['envoy', 'nginx'],
  rows: [
    { peer: 'direct', rounds: [{ values: { requestsPerSecond: 50_000 }, problems: [] }] },
    { peer: 'envoy', rounds: [{ values: { cpuUsPerRequest: 40, requestsPerSecond: 20_000 }, problems: [] }, { values: { cpuUsPerRequest: 60, requestsPerSecond: 16_000 }, problems: [] }] },
    { peer: 'orlop', rounds: [{ values: { cpuUsPerRequest: 16, requestsPerSecond: 40_000 }, problems: [] }, { values: { cpuUsPerRequest: 24, requestsPerSecond: 36_000 }, problems: [] }] },
  ],
};

function run(changes: Partial<RunResult> = {}): RunResult {
  return {
    startedAt: '2026-01-01T00:00:00.000Z',
    machine: { CPU: '2 × test' },
    versions: { nginx: '1.22.1' },
    options: { rounds: '2' },
    notes: { envoy: 'concurrency 1' },
    cases: [keepalive],
    problems: [],
    ...changes,
  };
}

test('a table lines up, text to the left and figures to the right', () => {
  expect(renderTable(['', 'figure'], [['nginx', '1'], ['envoy', '22']])).toBe(
    '|       | figure |\n|-------|-------:|\n| nginx |      1 |\n| envoy |     22 |\n',
  );
});

test('a figure shows its noise, unless there was one round only', () => {
  expect(renderFigure([10, 12, 11], 1)).toBe('11.0 (10.0–12.0)');
  expect(renderFigure([10], 0)).toBe('10');
  expect(renderFigure([], 0)).toBe('–');
});

test('ratios are shown against the baselines that were measured', () => {
  const report = renderReport(run());
  expect(report).toMatch(/CPU µs\/request ÷ envoy/);
  expect(report).not.toMatch(/÷ nginx/);
  expect(report).toMatch(/\| orlop +\| 20\.0 \(16\.0–24\.0\) \| +38000 \(36000–40000\) \| +0\.40 \(0\.40–0\.40\) \|/);
  expect(report).toMatch(/\| direct +\| +– \| +50000 \| +– \|/);
});

test('targets have verdicts, also those that were not measured', () => {
  const report = renderReport(run());
  expect(report).toMatch(/CPU per request against Envoy +\| +≤ 0\.5× \| +0\.40× \| +0\.40–0\.40 \| +met \|/);
  expect(report).toMatch(/CPU per request against nginx +\| +≤ 1\.3× \| +– \| +– \| +not measured \|/);
});

test('the machine, the versions and the conditions stand in the report', () => {
  const report = renderReport(run());
  expect(report).toContain('CPU 2 × test');
  expect(report).toContain('nginx 1.22.1');
  expect(report).toContain('- envoy: concurrency 1');
});

test('an invalid run says so, and why', () => {
  expect(renderReport(run())).not.toContain('INVALID');
  const report = renderReport(run({ problems: ['keepalive, nginx, round 1: wrk counts 3 readErrors'] }));
  expect(report).toContain('THIS RUN IS INVALID');
  expect(report).toContain('wrk counts 3 readErrors');
});
