import { expect, test } from 'vitest';

import { BODY } from '../../bench/backend.ts';
import { parseIperf } from '../../bench/load/iperf.ts';
import { readResponse } from '../../bench/load/response.ts';
import { parseWrk, wrkProblems, type WrkReport } from '../../bench/load/wrk.ts';

const good: WrkReport = {
  requests: 1000,
  bytes: 1000 * (BODY.length + 150),
  durationUs: 1_000_000,
  connectErrors: 0,
  readErrors: 0,
  writeErrors: 0,
  statusErrors: 0,
  timeouts: 0,
};

test('a run in which clients and backend agree has no problems', () => {
  expect(wrkProblems(good, 1000, 64)).toEqual([]);
  expect(wrkProblems(good, 1064, 64)).toEqual([]);
});

test('errors of any kind are problems', () => {
  for (const kind of ['connectErrors', 'readErrors', 'writeErrors', 'statusErrors', 'timeouts'] as const) {
    expect(wrkProblems({ ...good, [kind]: 3 }, 1001, 64)).toEqual([`wrk counts 3 ${kind}`]);
  }
});

test('answers the backend never gave, or requests made twice, are problems', () => {
  expect(wrkProblems(good, 999, 64)).toEqual(['wrk counts 1000 answers, but the backend served 999']);
  expect(wrkProblems(good, 2000, 64)).toHaveLength(1);
});

test('empty answers and no answers are problems', () => {
  expect(wrkProblems({ ...good, bytes: 1000 }, 1001, 64)).toEqual(['the answers are shorter than the backend\'s body']);
  expect(wrkProblems({ ...good, requests: 0, bytes: 0 }, 0, 64)).toEqual(['no request was answered']);
});

test('wrk\'s own words before its report are passed over, their absence of a report is not', () => {
  expect(parseWrk(`Running 1s test\n  1000 requests in 1.00s\n${JSON.stringify(good)}\n`)).toEqual(good);
  expect(() => parseWrk('unable to connect to 127.0.0.1:80')).toThrow('unable to connect');
});

test('bulk counts what the receiver got', () => {
  const end = { sum_sent: { bytes: 100, seconds: 1 }, sum_received: { bytes: 90, seconds: 2 } };
  expect(parseIperf(JSON.stringify({ end }))).toEqual({ receivedBytes: 90, seconds: 2 });
  expect(() => parseIperf('{"error":"unable to connect to server"}')).toThrow('unable to connect');
});

test('a response is complete with the last byte of its body and no earlier', () => {
  const bytes = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello');
  for (let end = 0; end < bytes.length; end++) expect(readResponse(bytes.subarray(0, end))).toBeUndefined();
  expect(readResponse(bytes)).toEqual({ status: 200, body: 'hello' });
});

test('a response whose end cannot be known is refused', () => {
  expect(() => readResponse(Buffer.from('HTTP/1.1 200 OK\r\n\r\n'))).toThrow('Content-Length');
  expect(() => readResponse(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab'))).toThrow('more bytes');
});
