/** Envoy's secret discovery, as a client on the socket sees it. */
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../../src/core/clock.ts';
import type { WorkloadCertificate } from '../../../src/certs/certificate.ts';
import type { Secret } from '../../../src/certs/sds/protocol.ts';
import { SecretClient, secretsOf } from '../grpc-client.ts';
import { IDENTITY, NEIGHBOUR, TRUST_DOMAIN_ID, WorkloadWorld } from '../workload-world.ts';

let world: WorkloadWorld;
let client: SecretClient;
let certificate: WorkloadCertificate;

beforeEach(async () => {
  world = await WorkloadWorld.open();
  client = new SecretClient(world.path);
  await world.source.issue(NEIGHBOUR);
  certificate = await world.source.issue(IDENTITY);
});

afterEach(async () => {
  client[Symbol.dispose]();
  await world[Symbol.asyncDispose]();
});

function certificateIn(secret: Secret | undefined): { chain: string | undefined; key: string | undefined } {
  return { chain: text(secret?.tlsCertificate?.certificateChain.inlineBytes), key: text(secret?.tlsCertificate?.privateKey.inlineBytes) };
}

function rootsIn(secret: Secret | undefined): string | undefined {
  return text(secret?.validationContext?.trustedCa.inlineBytes);
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

describe('StreamSecrets', () => {
  test('own certificate and roots, under either name', async () => {
    const { ask, incoming } = client.stream();
    ask({ resourceNames: ['default', 'ROOTCA', IDENTITY, TRUST_DOMAIN_ID] });
    const response = await incoming.next();
    const secrets = secretsOf(response.resources);
    expect(Object.keys(secrets)).toEqual(['default', 'ROOTCA', IDENTITY, TRUST_DOMAIN_ID]);
    for (const name of ['default', IDENTITY]) expect(certificateIn(secrets[name])).toEqual({ chain: certificate.chain, key: certificate.key });
    for (const name of ['ROOTCA', TRUST_DOMAIN_ID]) expect(rootsIn(secrets[name])).toBe(certificate.roots);
    expect(response.versionInfo).not.toBe('');
    expect(response.nonce).not.toBe('');
  });

  test('a rotation is pushed with a new version and nonce; what did not change is not', async () => {
    const [one, other] = [client.stream(), client.stream()];
    one.ask({ resourceNames: ['default'] });
    other.ask({ resourceNames: ['ROOTCA'] });
    const [first, roots] = [await one.incoming.next(), await other.incoming.next()];
    one.ask({ resourceNames: ['default'], versionInfo: first.versionInfo, responseNonce: first.nonce });
    const rotated = await world.source.issue(IDENTITY);
    const second = await one.incoming.next();
    expect(certificateIn(secretsOf(second.resources)['default']).chain).toBe(rotated.chain);
    expect(second.versionInfo).not.toBe(first.versionInfo);
    expect(second.nonce).not.toBe(first.nonce);
    await world.source.addRoot();
    const more = await other.incoming.next();
    expect(rootsIn(secretsOf(more.resources)['ROOTCA'])?.match(/BEGIN/g)).toHaveLength(2);
    expect(more.versionInfo).not.toBe(roots.versionInfo);
    await client.fetch(['default']);
    expect([one.incoming.waiting, other.incoming.waiting]).toEqual([0, 0]);
  });

  test('names added later are answered, dropped ones are not', async () => {
    const { ask, incoming } = client.stream();
    ask({ resourceNames: ['default'] });
    const first = await incoming.next();
    ask({ resourceNames: ['ROOTCA', 'default'], responseNonce: first.nonce });
    const second = await incoming.next();
    expect(Object.keys(secretsOf(second.resources))).toEqual(['ROOTCA', 'default']);
    ask({ resourceNames: ['ROOTCA'], responseNonce: second.nonce });
    ask({ resourceNames: ['ROOTCA', 'default'], responseNonce: second.nonce });
    const third = await incoming.next();
    expect(third.nonce).toBe('3');
    ask({ resourceNames: [], responseNonce: third.nonce });
    await client.fetch(['default']);
    await world.source.issue(IDENTITY);
    await client.fetch(['default']);
    expect(incoming.waiting).toBe(0);
  });

  test('a request with a nonce that is out of date is not answered', async () => {
    const { ask, incoming } = client.stream();
    ask({ resourceNames: ['default'] });
    await incoming.next();
    await world.source.issue(IDENTITY);
    const { nonce } = await incoming.next();
    ask({ resourceNames: ['ROOTCA'], responseNonce: '1' });
    ask({ resourceNames: [TRUST_DOMAIN_ID], responseNonce: nonce });
    expect(Object.keys(secretsOf((await incoming.next()).resources))).toEqual([TRUST_DOMAIN_ID]);
  });

  test('a rejection is logged once and answered with nothing until there is something new', async () => {
    for (let i = 0; i < 3; i += 1) {
      const { ask, incoming, end } = client.stream();
      ask({ resourceNames: ['default'] });
      const { nonce } = await incoming.next();
      for (let j = 0; j < 3; j += 1) ask({ resourceNames: ['default'], responseNonce: nonce, errorDetail: { code: 13, message: 'no such curve' } });
      await client.fetch(['default']);
      expect(incoming.waiting).toBe(0);
      await world.source.addRoot();
      await client.fetch(['default']);
      expect(incoming.waiting).toBe(0);
      end();
      await incoming.failure();
    }
    expect(world.lines.filter(({ message }) => message.includes('rejected'))).toMatchObject([{ level: 'warn', pod: 'shop/cart-1', reason: 'no such curve' }]);
    const { ask, incoming } = client.stream();
    ask({ resourceNames: ['default'] });
    const { nonce } = await incoming.next();
    ask({ resourceNames: ['default'], responseNonce: nonce, errorDetail: { code: 13, message: 'no such curve' } });
    const rotated = await world.source.issue(IDENTITY);
    expect(certificateIn(secretsOf((await incoming.next()).resources)['default']).chain).toBe(rotated.chain);
  });

  test('the name of another is answered with nothing, and logged', async () => {
    const { ask, incoming } = client.stream();
    ask({ resourceNames: [NEIGHBOUR, 'spiffe://elsewhere', '', 'ROOTCA'] });
    expect(Object.keys(secretsOf((await incoming.next()).resources))).toEqual(['ROOTCA']);
    const alone = client.stream();
    alone.ask({ resourceNames: [NEIGHBOUR] });
    await client.fetch(['default']);
    await world.source.issue(NEIGHBOUR);
    await client.fetch(['default']);
    expect(alone.incoming.waiting).toBe(0);
    expect(world.lines.map(({ secret }) => secret)).toEqual([NEIGHBOUR, 'spiffe://elsewhere', '']);
  });

  test('other types and too many names end the stream', async () => {
    const [typed, greedy, long] = [client.stream(), client.stream(), client.stream()];
    typed.ask({ typeUrl: 'type.googleapis.com/envoy.config.cluster.v3.Cluster', resourceNames: [] });
    greedy.ask({ resourceNames: Array.from({ length: 65 }, (_, i) => `name-${i}`) });
    long.ask({ resourceNames: ['n'.repeat(2049)] });
    expect((await typed.incoming.failure()).code).toBe(status.INVALID_ARGUMENT);
    expect((await greedy.incoming.failure()).code).toBe(status.RESOURCE_EXHAUSTED);
    expect((await long.incoming.failure()).code).toBe(status.INVALID_ARGUMENT);
    const flood = client.stream();
    flood.ask({ resourceNames: ['x'.repeat(1024 * 1024)] });
    expect((await flood.incoming.failure()).code).toBe(status.RESOURCE_EXHAUSTED);
  });

  test('a client that has nothing more to say is let go', async () => {
    const { ask, incoming, end } = client.stream();
    ask({ resourceNames: ['default'] });
    await incoming.next();
    end();
    expect((await incoming.failure()).message).toBe('ended');
  });
});

describe('DeltaSecrets', () => {
  test('what is subscribed, then what changed of it', async () => {
    const { ask, incoming } = client.delta();
    ask({ resourceNamesSubscribe: ['default', 'ROOTCA'] });
    const first = await incoming.next();
    expect(first.resources.map(({ name }) => name)).toEqual(['default', 'ROOTCA']);
    ask({ responseNonce: first.nonce });
    const rotated = await world.source.issue(IDENTITY);
    const second = await incoming.next();
    expect(second.resources.map(({ name }) => name)).toEqual(['default']);
    expect(certificateIn(secretsOf(second.resources.map(({ resource }) => resource))['default']).chain).toBe(rotated.chain);
    expect(second.resources[0]?.version).not.toBe(first.resources[0]?.version);
    ask({ responseNonce: second.nonce, resourceNamesUnsubscribe: ['default'] });
    await client.fetch(['default']);
    await world.source.issue(IDENTITY);
    await world.source.addRoot();
    expect((await incoming.next()).resources.map(({ name }) => name)).toEqual(['ROOTCA']);
    expect(incoming.waiting).toBe(0);
  });

  test('a client that comes back with what it had is sent only what it lacks', async () => {
    const before = client.delta();
    before.ask({ resourceNamesSubscribe: ['default', 'ROOTCA'] });
    const versions = Object.fromEntries((await before.incoming.next()).resources.map(({ name, version }) => [name, version]));
    const { ask, incoming } = client.delta();
    ask({ resourceNamesSubscribe: ['default', 'ROOTCA'], initialResourceVersions: { ...versions, ROOTCA: 'old' } });
    expect((await incoming.next()).resources.map(({ name }) => name)).toEqual(['ROOTCA']);
    ask({ resourceNamesSubscribe: ['default'] });
    expect((await incoming.next()).resources.map(({ name }) => name)).toEqual(['default']);
  });

  test('the name of another is answered as absent', async () => {
    const { ask, incoming } = client.delta();
    ask({ resourceNamesSubscribe: [NEIGHBOUR, 'default'] });
    const { resources, removedResources } = await incoming.next();
    expect(resources.map(({ name }) => name)).toEqual(['default']);
    expect(removedResources).toEqual([NEIGHBOUR]);
    await world.source.issue(NEIGHBOUR);
    await client.fetch(['default']);
    expect(incoming.waiting).toBe(0);
  });

  test('a rejection is logged once and answered with nothing until there is something new', async () => {
    const { ask, incoming } = client.delta();
    ask({ resourceNamesSubscribe: ['default'] });
    const { nonce } = await incoming.next();
    for (let i = 0; i < 3; i += 1) ask({ responseNonce: nonce, errorDetail: { code: 13, message: 'bad' } });
    await client.fetch(['default']);
    expect(incoming.waiting).toBe(0);
    expect(world.lines.filter(({ message }) => message.includes('rejected'))).toHaveLength(1);
    await world.source.issue(IDENTITY);
    await incoming.next();
  });

  test('names that pile up over many requests end the stream', async () => {
    const { ask, incoming } = client.delta();
    for (let i = 0; i < 3; i += 1) ask({ resourceNamesSubscribe: Array.from({ length: 30 }, (_, j) => `name-${i}-${j}`) });
    expect((await incoming.failure()).code).toBe(status.RESOURCE_EXHAUSTED);
  });
});

describe('FetchSecrets', () => {
  test('answers with what is the caller\'s', async () => {
    const { resources, versionInfo } = await client.fetch(['default', NEIGHBOUR]);
    expect(Object.keys(secretsOf(resources))).toEqual(['default']);
    expect(versionInfo).not.toBe('');
    expect((await client.fetch(['ROOTCA'], '')).resources).toHaveLength(1);
  });

  test('refuses what is only another\'s', async () => {
    await expect(client.fetch([NEIGHBOUR])).rejects.toMatchObject({ code: status.NOT_FOUND });
    await expect(client.fetch(['default'], 'type.googleapis.com/x')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe('without a certificate', () => {
  test('callers wait until it is issued', async () => {
    await using young = await WorkloadWorld.open();
    using early = new SecretClient(young.path);
    const [stream, delta] = [early.stream(), early.delta()];
    stream.ask({ resourceNames: ['default'] });
    delta.ask({ resourceNamesSubscribe: ['default'] });
    const fetched = early.fetch(['default']);
    const absent = early.delta();
    absent.ask({ resourceNamesSubscribe: [NEIGHBOUR] });
    await absent.incoming.next();
    await young.source.issue(IDENTITY);
    const all = [await stream.incoming.next(), await delta.incoming.next(), await fetched];
    expect(all.map(({ resources }) => resources.length)).toEqual([1, 1, 1]);
  });

  test('they do not wait for ever', async () => {
    const clock = new FakeClock();
    await using young = await WorkloadWorld.open(clock);
    using early = new SecretClient(young.path);
    const { ask, incoming } = early.stream();
    ask({ resourceNames: ['default'] });
    const fetched = early.fetch(['default']).catch((error: unknown) => error);
    const absent = early.delta();
    absent.ask({ resourceNamesSubscribe: [NEIGHBOUR] });
    await absent.incoming.next();
    clock.advance(30_000);
    expect(await incoming.failure()).toMatchObject({ code: status.UNAVAILABLE, details: `${IDENTITY} has no certificate yet; try again` });
    expect(await fetched).toMatchObject({ code: status.UNAVAILABLE });
    expect((await absent.incoming.failure()).code).toBe(status.UNAVAILABLE);
    expect(clock.pending()).toBe(0);
  });

  test('a certificate that expires before it is renewed is not handed out', async () => {
    world.source.withdraw(IDENTITY);
    const fetched = client.fetch(['default']);
    const { ask, incoming } = client.delta();
    ask({ resourceNamesSubscribe: [NEIGHBOUR] });
    await incoming.next();
    const { chain } = await world.source.issue(IDENTITY);
    expect(certificateIn(secretsOf((await fetched).resources)['default']).chain).toBe(chain);
  });
});

test('a pod that leaves: its streams end with the reason, its connections close', async () => {
  const { ask, incoming } = client.stream();
  ask({ resourceNames: ['default'] });
  await incoming.next();
  world.server.close('the pod has left the mesh');
  expect(await incoming.failure()).toMatchObject({ code: status.UNAVAILABLE, details: 'the pod has left the mesh' });
  await expect.poll(() => world.connections).toBe(0);
});

test('no key is ever logged', async () => {
  const { ask, incoming } = client.stream();
  ask({ resourceNames: ['default', NEIGHBOUR] });
  const { nonce } = await incoming.next();
  ask({ resourceNames: ['default'], responseNonce: nonce, errorDetail: { code: 13, message: 'bad' } });
  await client.fetch(['default']);
  expect(world.lines.length).toBeGreaterThan(0);
  const key = certificate.key.split('\n')[1] as string;
  expect(JSON.stringify(world.lines)).not.toContain(key);
});
