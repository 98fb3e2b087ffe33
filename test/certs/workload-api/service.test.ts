/** The SPIFFE Workload API, as a client on the socket sees it. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { X509BundlesResponse, X509SvidResponse } from '../../../src/certs/workload-api/protocol.ts';
import { SecretClient, WorkloadClient } from '../grpc-client.ts';
import { IDENTITY, NEIGHBOUR, TRUST_DOMAIN_ID, WorkloadWorld } from '../workload-world.ts';

let world: WorkloadWorld;
let client: WorkloadClient;

beforeEach(async () => {
  world = await WorkloadWorld.open();
  client = new WorkloadClient(world.path);
  await world.source.issue(NEIGHBOUR);
});

afterEach(async () => {
  client[Symbol.dispose]();
  await world[Symbol.asyncDispose]();
});

test('the caller\'s identity in DER: leaf, key and roots that belong together', async () => {
  const { serial } = await world.source.issue(IDENTITY);
  const { svids } = await client.follow<X509SvidResponse>('FetchX509SVID').next();
  expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([IDENTITY]);
  const [svid] = svids;
  const leaf = new X509Certificate(Buffer.from(svid?.x509Svid ?? []));
  expect(leaf.serialNumber.toLowerCase()).toBe(serial);
  expect(leaf.subjectAltName).toBe(`URI:${IDENTITY}`);
  expect(leaf.checkPrivateKey(createPrivateKey({ key: Buffer.from(svid?.x509SvidKey ?? []), format: 'der', type: 'pkcs8' }))).toBe(true);
  expect(leaf.verify(new X509Certificate(Buffer.from(svid?.bundle ?? [])).publicKey)).toBe(true);
});

test('a new certificate and a new root are pushed; bundles change with roots only', async () => {
  await world.source.issue(IDENTITY);
  const [identities, bundles] = [client.follow<X509SvidResponse>('FetchX509SVID'), client.follow<X509BundlesResponse>('FetchX509Bundles')];
  const [first, roots] = [await identities.next(), await bundles.next()];
  expect(Object.keys(roots.bundles)).toEqual([TRUST_DOMAIN_ID]);
  expect(Buffer.from(roots.bundles[TRUST_DOMAIN_ID] ?? [])).toEqual(first.svids[0]?.bundle);
  const { serial } = await world.source.issue(IDENTITY);
  const second = await identities.next();
  expect(new X509Certificate(Buffer.from(second.svids[0]?.x509Svid ?? [])).serialNumber.toLowerCase()).toBe(serial);
  await world.source.addRoot();
  const third = await identities.next();
  expect(third.svids[0]?.x509Svid).toEqual(second.svids[0]?.x509Svid);
  expect(third.svids[0]?.bundle.length).toBeGreaterThan(second.svids[0]?.bundle.length ?? 0);
  expect(Buffer.from((await bundles.next()).bundles[TRUST_DOMAIN_ID] ?? [])).toEqual(third.svids[0]?.bundle);
  expect(bundles.waiting).toBe(0);
});

test('a caller that is early waits for its certificate', async () => {
  const identities = client.follow<X509SvidResponse>('FetchX509SVID');
  await expect(client.fetch('FetchJWTSVID')).rejects.toThrow();
  await world.source.issue(IDENTITY);
  expect((await identities.next()).svids).toHaveLength(1);
});

test('there are no JWT identities', async () => {
  for (const method of ['FetchJWTSVID', 'ValidateJWTSVID'] as const) await expect(client.fetch(method)).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  expect((await client.follow('FetchJWTBundles').failure()).code).toBe(status.UNIMPLEMENTED);
});

describe.each(['', 'false', 'True'])('with the security header "%s"', (header) => {
  test('every method is refused', async () => {
    await world.source.issue(IDENTITY);
    using tricked = new WorkloadClient(world.path, header);
    for (const method of ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTBundles'] as const) {
      expect((await tricked.follow(method).failure()).code).toBe(status.INVALID_ARGUMENT);
    }
    for (const method of ['FetchJWTSVID', 'ValidateJWTSVID'] as const) await expect(tricked.fetch(method)).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

test('one connection more than a pod may have is closed, and the log says so once', async () => {
  await world.source.issue(IDENTITY);
  const clients = Array.from({ length: 16 }, () => new WorkloadClient(world.path));
  try {
    for (const one of clients) await one.follow('FetchX509SVID').next();
    for (let i = 0; i < 3; i += 1) {
      using more = new WorkloadClient(world.path);
      expect((await more.follow('FetchX509SVID').failure()).code).toBe(status.UNAVAILABLE);
    }
    expect(world.lines.map(({ message }) => message)).toEqual(['too many connections of one pod to the workload socket; further ones are closed']);
  } finally {
    for (const one of clients) one[Symbol.dispose]();
  }
  await expect.poll(async () => {
    using again = new WorkloadClient(world.path);
    return await again.follow<X509SvidResponse>('FetchX509SVID').next().then(({ svids }) => svids.length, () => 0);
  }).toBe(1);
});

test('bytes that are no message end their call only', async () => {
  await world.source.issue(IDENTITY);
  const identities = client.follow<X509SvidResponse>('FetchX509SVID');
  await identities.next();
  await expect(client.garbage()).rejects.toMatchObject({ code: status.INTERNAL });
  await world.source.issue(IDENTITY);
  expect((await identities.next()).svids).toHaveLength(1);
  expect(world.source.followers).toBe(1);
});

test('bytes that are no HTTP/2 end their connection only', async () => {
  await world.source.issue(IDENTITY);
  const identities = client.follow<X509SvidResponse>('FetchX509SVID');
  await identities.next();
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(100), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff']) {
    const raw = connect(world.path);
    raw.on('error', () => raw.destroy()).resume().write(bytes, 'latin1');
    await once(raw, 'close');
  }
  await world.source.issue(IDENTITY);
  expect((await identities.next()).svids).toHaveLength(1);
  expect(world.connections).toBe(1);
});

test('callers that go away leave nothing behind', async () => {
  for (let i = 0; i < 20; i += 1) {
    const [one, waiting] = [new WorkloadClient(world.path), new SecretClient(world.path)];
    one.follow('FetchX509SVID');
    const { ask, incoming } = waiting.stream();
    ask({ resourceNames: ['default'] });
    waiting.fetch(['default']).catch(() => undefined);
    const { removed } = await absent(waiting);
    expect(removed).toEqual(['none']);
    one[Symbol.dispose]();
    waiting[Symbol.dispose]();
    await incoming.failure();
  }
  await expect.poll(() => [world.connections, world.source.followers]).toEqual([0, 0]);
});

/** A round trip: whatever was asked before has arrived by then. */
async function absent(secrets: SecretClient): Promise<{ removed: readonly string[] }> {
  const { ask, incoming } = secrets.delta();
  ask({ resourceNamesSubscribe: ['none'] });
  return { removed: (await incoming.next()).removedResources };
}
