import { expect, test } from 'vitest';

import type { CaseResult } from '../../bench/results.ts';
import { judge, type Target } from '../../bench/targets.ts';

const target: Target = {
  text: 'CPU per request against Envoy',
  unit: '×',
  limit: 0.5,
  figure: { case: 'keepalive', peer: 'orlop', metric: 'cpu' },
  baseline: { case: 'keepalive', peer: 'envoy', metric: 'cpu' },
};

function row(peer: string, values: readonly number[]): CaseResult['rows'][number] {
  return { peer, rounds: values.map((cpu) => ({ values: { cpu }, problems: [] })) };
}

function cases(orlop: readonly number[], envoy: readonly number[]): CaseResult[] {
  return [{ key: 'keepalive', title: '', metrics: [], baselines: [], rows: [row('orlop', orlop), row('envoy', envoy)] }];
}

test('a target is met when the middle round is at or below the limit', () => {
  expect(judge(target, cases([20, 10, 20], [40, 40, 40]))).toMatchObject({ word: 'met', remark: '', measured: { median: 0.5 } });
});

test('a miss says by how much of the limit', () => {
  expect(judge(target, cases([30, 30, 30], [40, 40, 40]))).toMatchObject({ word: 'missed', remark: 'by 50 %' });
});

test('rounds on both sides of the limit are called noise, either way', () => {
  expect(judge(target, cases([10, 10, 30], [40, 40, 40]))).toMatchObject({ word: 'met', remark: 'within the noise: rounds lie on both sides' });
  expect(judge(target, cases([10, 30, 30], [40, 40, 40])).remark).toBe('by 50 %, within the noise: rounds lie on both sides');
});

test('an absolute target needs no baseline', () => {
  const { baseline: _, ...absolute } = { ...target, limit: 120 };
  expect(judge(absolute, cases([119], []))).toMatchObject({ word: 'met', measured: { median: 119 } });
});

test('what was not measured gets no verdict', () => {
  expect(judge(target, cases([20], []))).toMatchObject({ word: 'not measured', measured: undefined });
  expect(judge(target, [])).toMatchObject({ word: 'not measured' });
});
