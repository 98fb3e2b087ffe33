/** Requests that go on later, from a timer or another's answer: what goes wrong then ends the exchange, and nothing else. */
import { describe, expect, test } from 'vitest';
import type { MeshError } from '../../src/core/errors.ts';
import { Buffers } from '../../src/proxy/buffers.ts';
import type { RequestSink, ResponseSink, Service } from '../../src/proxy/exchange.ts';
import { CheckedRequest } from '../../src/proxy/ext-authz/checked-request.ts';
import type { CheckOutcome } from '../../src/proxy/ext-authz/outcome.ts';
import { RequestHead } from '../../src/proxy/head.ts';
import { fault } from '../../src/proxy/layers/fault.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { World, tableOf } from './world.ts';

/** Fails in the call, or once bytes come. */
function failing(when: 'at once' | 'with the body'): Service {
  const fail = (): never => {
    throw new TypeError('a fault of ours');
  };
  const sink: RequestSink = { data: fail, end: () => undefined, abort: () => undefined, resumeResponse: () => undefined };
  return { serve: () => (when === 'at once' ? fail() : sink) };
}

function listener(): { response: ResponseSink; aborted: MeshError[] } {
  const aborted: MeshError[] = [];
  const response = { informational: () => undefined, head: () => undefined, data: () => true, end: () => undefined, abort: (error: MeshError) => void aborted.push(error), resumeRequest: () => undefined };
  return { response, aborted };
}

describe.each(['at once', 'with the body'] as const)('what fails %s', (when) => {
  test('after a delay is told to the client', () => {
    const world = new World(tableOf());
    const { response, aborted } = listener();
    const layer = fault({ delay: { percent: 100, delayMs: 10 }, abort: undefined }, world.clock, world.dataplane.random)?.(failing(when));
    const request = layer?.serve(new Exchange('source', world.connection, undefined, 0), new RequestHead('POST', '/', 'reviews', 11), response);
    request?.data(Buffer.from('a'));
    world.clock.advance(10);
    request?.data(Buffer.from('b'));
    request?.end(undefined);
    expect(aborted.map(({ code, cause }) => [code, (cause as Error).message])).toEqual([['internal', 'a fault of ours']]);
  });

  test('after an authorizer has agreed is told to the client, and nothing stays held', () => {
    const { response, aborted } = listener();
    const buffers = new Buffers();
    let agree: (outcome: CheckOutcome) => void = () => undefined;
    const request = new CheckedRequest({
      response,
      buffers,
      limit: undefined,
      expectsContinue: false,
      ask: (_body, _partial, done) => {
        agree = done;
        return () => undefined;
      },
      act: () => failing(when).serve(undefined as never, undefined as never, response),
      refuseTooLarge: () => failing(when).serve(undefined as never, undefined as never, response),
    });
    request.begin();
    request.data(Buffer.from('a'));
    agree({ kind: 'allowed', requestHeaders: [], removeRequestHeaders: [], responseHeaders: [] });
    request.data(Buffer.from('b'));
    request.end(undefined);
    expect(aborted.map(({ code }) => code)).toEqual(['internal']);
    expect(buffers.held).toBe(0);
  });
});
