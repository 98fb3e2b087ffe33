import { expect, test } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import type { ExtAuthzProvider } from '../../../src/mesh/security.ts';
import { CheckedDialer } from '../../../src/proxy/ext-authz/checked-dialer.ts';
import type { ExternalAuthorizer } from '../../../src/proxy/ext-authz/external-authorizer.ts';
import type { OpaqueAttempt, OpaqueOutcome } from '../../../src/proxy/opaque.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { World, tableOf } from '../world.ts';
import { providerOf } from './provider.ts';

type Done = (error: MeshError | undefined) => void;

class Bench {
  readonly world = new World(tableOf());
  readonly log: string[] = [];
  attempt!: OpaqueAttempt;
  answer!: Done;

  /** `answer`: given at once; undefined: when the test gives it. */
  constructor(provider: ExtAuthzProvider | undefined, answer?: MeshError | 'allowed') {
    const authorizer = {
      connection: (_provider: ExtAuthzProvider, _exchange: Exchange, done: Done) => {
        this.log.push('asked');
        this.answer = done;
        if (answer !== undefined) done(answer === 'allowed' ? undefined : answer);
        return () => void this.log.push('question given up');
      },
    } as unknown as ExternalAuthorizer;
    const dialer = {
      connect: (): OpaqueAttempt => {
        this.log.push('connected');
        return { cancel: () => void this.log.push('connection given up') };
      },
    };
    const outcome: OpaqueOutcome = { dialled: () => undefined, unreachable: (error) => void this.log.push(error.code) };
    this.attempt = new CheckedDialer(dialer, () => provider, authorizer, this.world.clock).connect(new Exchange('destination', this.world.connection, undefined, 0), { routes: undefined }, outcome);
    this.log.push('returned');
    this.world.clock.advance(0);
  }
}

test('nobody to ask', () => {
  expect(new Bench(undefined).log).toEqual(['connected', 'returned']);
});

test('allowed, then connected', () => {
  const bench = new Bench(providerOf());
  expect(bench.log).toEqual(['returned', 'asked']);
  bench.answer(undefined);
  bench.attempt.cancel();
  expect(bench.log).toEqual(['returned', 'asked', 'connected', 'connection given up']);
});

test('an answer that comes at once is told in a later turn', () => {
  expect(new Bench(providerOf(), 'allowed').log).toEqual(['returned', 'asked', 'connected']);
  expect(new Bench(providerOf(), new MeshError('ext_authz_denied')).log).toEqual(['returned', 'asked', 'ext_authz_denied']);
});

test('a client that leaves takes its question along', () => {
  const bench = new Bench(providerOf());
  bench.attempt.cancel();
  expect(bench.log).toEqual(['returned', 'asked', 'question given up']);
});
