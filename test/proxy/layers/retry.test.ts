import { describe, expect, test } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { RETRY_BODY_BYTES_MAX } from '../../../src/core/limits.ts';
import type { RetryConditions, RetryPolicy } from '../../../src/mesh/table.ts';
import { LIMITS, World, answer, clusterOf, endpoints, forwardTo, reset, retryOn, routeOf, silent, tableOf } from '../world.ts';
import type { Script } from '../world.ts';

function retrying(retry: RetryPolicy, timeoutMs = 0, addresses: readonly string[] = ['10.1.0.1']): World {
  return new World(tableOf({ routes: [routeOf({ action: forwardTo({ retry, timeoutMs }) })], clusters: [clusterOf({ endpoints: endpoints(...addresses) })] }));
}

/** One script after the other, the last one for ever. */
function inTurn(...scripts: readonly Script[]): Script {
  let turn = 0;
  return (request) => {
    const script = scripts[Math.min(turn, scripts.length - 1)] as Script;
    turn += 1;
    script(request);
  };
}

const protocolError: Script = (request) => {
  request.over = true;
  request.connection.close();
  request.response.abort(new MeshError('upstream_protocol_error'));
};
const remoteReset: Script = (request) => {
  request.over = true;
  request.connection.close();
  request.response.abort(new MeshError('upstream_remote_reset'));
};
const refusedStream: Script = (request) => {
  request.over = true;
  request.connection.close();
  request.response.abort(new MeshError('upstream_refused'));
};

describe('each token of retryOn repeats what it names and nothing else', () => {
  const outcomes: Readonly<Record<string, Script>> = {
    500: answer(500),
    501: answer(501),
    502: answer(502),
    503: answer(503),
    504: answer(504),
    409: answer(409),
    404: answer(404),
    200: answer(200),
    reset,
    protocolError,
    remoteReset,
    refusedStream,
  };
  const resets = ['reset', 'protocolError', 'remoteReset', 'refusedStream'];
  const cases: readonly (readonly [string, Partial<RetryConditions>, readonly string[]])[] = [
    ['5xx', { fiveHundreds: true }, ['500', '501', '502', '503', '504', ...resets]],
    ['gateway-error', { gatewayError: true }, ['502', '503', '504', ...resets]],
    ['reset', { reset: true }, resets],
    ['refused-stream', { refusedStream: true }, ['refusedStream']],
    ['connect-failure', { connectFailure: true }, []],
    ['retriable-4xx', { retriable4xx: true }, ['409']],
    ['503 as a number', { statuses: new Set([503]) }, ['503']],
    ['404 as a number', { statuses: new Set([404]) }, ['404']],
  ];
  test.each(cases)('%s', (_token, on, repeated) => {
    for (const [name, script] of Object.entries(outcomes)) {
      const world = retrying(retryOn(on));
      world.script = inTurn(script, answer(200));
      const client = world.send();
      world.clock.advance(300);
      expect([name, client.status === 200 && name !== '200' ? 'repeated' : 'passed on']).toEqual([name, repeated.includes(name) ? 'repeated' : 'passed on']);
      expect(client.ends).toBe(1);
      expect(world.ended).toHaveLength(1);
      expect(world.idle).toBe(true);
    }
  });

  test('connect-failure repeats refused and timed out connects', () => {
    const refused = retrying(retryOn({ connectFailure: true }));
    refused.failDials = new Set([1]);
    expect(finish(refused).status).toBe(200);

    const slow = retrying(retryOn({ connectFailure: true }));
    slow.failDials = 'never-answered';
    const client = slow.send();
    slow.clock.advance(10_000);
    slow.failDials = new Set();
    slow.clock.advance(300);
    expect(client.status).toBe(200);
  });

  test('gRPC statuses, from the head of an answer without message', () => {
    for (const [status, repeated] of [['14', true], ['5', false]] as const) {
      const world = retrying(retryOn({ grpcStatuses: new Set([14, 1]) }));
      world.script = inTurn(answer(200, { 'grpc-status': status }), answer(200, { 'grpc-status': '0' }));
      const client = world.send({ method: 'POST', headers: { 'content-type': 'application/grpc' } });
      world.clock.advance(300);
      expect(client.headers?.get('grpc-status')).toBe(repeated ? '0' : status);
      expect(world.ended[0]?.grpcStatus).toBe(repeated ? '0' : status);
    }
  });
});

function finish(world: World, options: Parameters<World['send']>[0] = {}): ReturnType<World['send']> {
  const client = world.send(options);
  world.clock.advance(2_000);
  return client;
}

test('attempts bounds the tries, and the last failure is the answer, with URX', () => {
  const world = retrying(retryOn({ fiveHundreds: true }, 3));
  world.script = answer(503, {}, 'sorry');
  const client = finish(world);
  expect(world.requests).toHaveLength(4);
  expect([client.status, client.body]).toEqual([503, 'sorry']);
  expect(world.ended[0]).toMatchObject({ status: 503, flags: 'URX', details: 'via_upstream' });

  const down = retrying(retryOn({ connectFailure: true }, 2));
  down.failDials = 'all';
  expect(finish(down).status).toBe(503);
  expect(down.dials).toHaveLength(3);
  expect(down.ended[0]?.flags).toBe('UF,URX');
  expect(down.idle).toBe(true);
});

test('the pauses between tries double up to their cap, and are random within', () => {
  const world = retrying(retryOn({ fiveHundreds: true }, 6));
  const times: number[] = [];
  world.script = (request) => {
    times.push(world.clock.nowMs());
    request.answer(500);
  };
  world.send();
  for (let i = 0; i < 3000; i += 1) world.clock.advance(1);
  const pauses = times.slice(1).map((time, i) => time - (times[i] as number));
  expect(pauses).toHaveLength(6);
  for (const [i, pause] of pauses.entries()) expect(pause).toBeLessThanOrEqual(Math.min(25 * 2 ** i, 250));
  expect(new Set(pauses.map(Math.round)).size).toBeGreaterThan(3);
});

test('the body is sent again, whole and in order', () => {
  const world = retrying(retryOn({ fiveHundreds: true }));
  world.script = inTurn(answer(500), answer(200));
  const client = finish(world, { method: 'POST', body: ['one ', 'two ', 'three'] });
  expect(client.status).toBe(200);
  expect(world.requests.map((request) => request.body)).toEqual(['one two three', 'one two three']);
});

test('a failure in the middle of the upload: what came before, then what comes after', () => {
  const world = retrying(retryOn({ reset: true }));
  const client = world.request({ method: 'POST', body: ['one '], unfinished: true });
  world.clock.advance(0);
  world.requests[0]?.reset();
  expect(client.sink.data(Buffer.from('two '))).toBe(false);
  world.clock.advance(300);
  expect(client.resumed).toBeGreaterThan(0);
  client.sink.data(Buffer.from('three'));
  client.sink.end(undefined);
  expect(client.status).toBe(200);
  expect(world.requests[1]?.body).toBe('one two three');
  expect(world.idle).toBe(true);
});

test('a body larger than the bound is sent once', () => {
  const world = retrying(retryOn({ fiveHundreds: true }));
  world.script = answer(500);
  const client = finish(world, { method: 'POST', body: ['x'.repeat(RETRY_BODY_BYTES_MAX), 'y'] });
  expect(world.requests).toHaveLength(1);
  expect(client.status).toBe(500);
  expect(world.clusters.buffers.held).toBe(0);
});

test('nothing is tried again once the answer has begun', () => {
  const world = retrying(retryOn({ reset: true, fiveHundreds: true }));
  world.script = (request) => {
    request.begin(200);
    request.reset('upstream_closed_midway');
  };
  const client = finish(world);
  expect(client.aborted?.code).toBe('upstream_closed_midway');
  expect(world.requests).toHaveLength(1);
});

test('other endpoints are tried first', () => {
  for (let i = 0; i < 20; i += 1) {
    const world = retrying(retryOn({ fiveHundreds: true }), 0, ['10.1.0.1', '10.1.0.2', '10.1.0.3']);
    world.script = answer(500);
    finish(world);
    expect(new Set(world.seen).size).toBe(3);
  }
});

test('maxRetries bounds the retries under way in a cluster', () => {
  const world = new World(
    tableOf({ routes: [routeOf({ action: forwardTo({ retry: retryOn({ fiveHundreds: true }) }) })], clusters: [clusterOf({ limits: { ...LIMITS, maxRetries: 1 } })] }),
  );
  world.script = inTurn(answer(500), answer(500), answer(200));
  const first = world.send();
  const second = world.send();
  expect(first.ends).toBe(0);
  expect(second.status).toBe(500);
  expect(world.ended[0]?.flags).toBe('UO');
  world.clock.advance(300);
  expect(first.status).toBe(200);
  expect(world.idle).toBe(true);
});

test('overflow and missing endpoints are not tried again', () => {
  const world = new World(
    tableOf({ routes: [routeOf({ action: forwardTo({ retry: retryOn({ fiveHundreds: true, connectFailure: true }) }) })], clusters: [clusterOf({ endpoints: [] })] }),
  );
  expect(world.send().status).toBe(503);
  expect(world.ended[0]?.flags).toBe('UH');
});

function race(method: string, on: Partial<RetryConditions>): number {
  const world = retrying(retryOn(on));
  world.send();
  world.script = inTurn(reset, answer(200));
  const client = world.send({ method });
  world.clock.advance(300);
  return client.status;
}

describe('a kept-alive connection that died unnoticed', () => {
  test('is hidden by reset-before-request for every method', () => {
    expect(race('POST', { resetBeforeRequest: true })).toBe(200);
  });

  test('is hidden by connect-failure where repeating does no harm', () => {
    expect(race('GET', { connectFailure: true })).toBe(200);
    expect(race('POST', { connectFailure: true })).toBe(503);
  });

  test('a reset of a fresh connection is not one', () => {
    const world = retrying(retryOn({ resetBeforeRequest: true, connectFailure: true }));
    world.script = reset;
    expect(finish(world).status).toBe(503);
    expect(world.requests).toHaveLength(1);
  });
});

test('perTryTimeout ends a try, and is repeated where resets are', () => {
  const world = retrying(retryOn({ reset: true }, 2, { perTryTimeoutMs: 100 }));
  world.script = inTurn(silent, silent, answer(200));
  const client = world.send();
  world.clock.advance(1_000);
  expect(client.status).toBe(200);
  expect(world.requests).toHaveLength(3);
  expect(world.requests[0]?.cancelled?.code).toBe('per_try_timeout');

  const istio = retrying(retryOn({ connectFailure: true }, 2, { perTryTimeoutMs: 100 }));
  istio.script = silent;
  const timedOut = istio.send();
  istio.clock.advance(100);
  expect(timedOut.status).toBe(504);
  expect(istio.ended[0]).toMatchObject({ flags: 'UT', details: 'upstream_per_try_timeout' });
});

test('perTryTimeout lets an answer that has begun go on', () => {
  const world = retrying(retryOn({ reset: true }, 2, { perTryTimeoutMs: 100 }));
  world.script = (request) => request.begin(200);
  const client = world.send();
  world.clock.advance(5_000);
  expect(client.ends).toBe(0);
  world.requests[0]?.finish();
  expect(client.status).toBe(200);
});

test('the timeout of the route holds over all tries and pauses', () => {
  const world = retrying(retryOn({ reset: true }, 100, { perTryTimeoutMs: 300 }), 1_000);
  world.script = silent;
  const client = world.send();
  world.clock.advance(999);
  expect(client.ends).toBe(0);
  world.clock.advance(1);
  expect(client.status).toBe(504);
  expect(world.ended).toHaveLength(1);
  expect(world.ended[0]).toMatchObject({ flags: 'UT', details: 'response_timeout' });
  world.clock.advance(5_000);
  expect(world.idle).toBe(true);
  expect(world.requests.length).toBeLessThanOrEqual(4);
});

test('a client that leaves during a pause ends everything', () => {
  const world = retrying(retryOn({ fiveHundreds: true }));
  world.script = answer(500);
  const client = world.send({ body: 'kept' });
  client.sink.abort(new MeshError('downstream_gone'));
  world.clock.advance(1_000);
  expect(world.requests).toHaveLength(1);
  expect(world.ended.map((facts) => facts.flags)).toEqual(['DC']);
  expect(world.idle).toBe(true);
  expect(world.clusters.buffers.held).toBe(0);
});

test('the connection of an answer that is repeated is kept when the answer is small, and given up when it is not', () => {
  const world = retrying(retryOn({ fiveHundreds: true }, 1));
  world.script = inTurn(answer(500, {}, 'x'.repeat(1000)), answer(200));
  finish(world);
  expect(world.dials).toHaveLength(1);

  const large = retrying(retryOn({ fiveHundreds: true }, 1));
  large.script = inTurn((request) => {
    request.begin(500);
    for (let i = 0; i < 100 && !request.over; i += 1) request.response.data(Buffer.alloc(1024));
  }, answer(200));
  expect(finish(large).status).toBe(200);
  expect(large.requests[0]?.cancelled).toBeDefined();
  expect(large.idle).toBe(true);
});
