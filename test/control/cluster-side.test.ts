/** The control plane in a cluster: whose a token is, keys that replicas share, and which of them takes the steps. */
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { CryptoKey, GenerateKeyPairResult } from 'jose';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Leadership } from '../../src/control/leadership.ts';
import { NodeIdentities } from '../../src/control/node-identities.ts';
import { publishedRoots } from '../../src/control/published-roots.ts';
import { SecretStore } from '../../src/control/secret-store.ts';
import { ServiceAccountKeys } from '../../src/control/service-account-keys.ts';
import { TokenReview } from '../../src/control/token-review.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const log = createLogger('test', 'silent');
const HOUR_MS = 3_600_000;
const closing: (() => unknown)[] = [];
let server: ApiServer;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await server.stop();
});

describe('the node behind a token', () => {
  const BOUND = { 'authentication.kubernetes.io/pod-name': ['orlop-agent-x'], 'authentication.kubernetes.io/pod-uid': ['uid-1'] };
  const ON_NODE = { ...BOUND, 'authentication.kubernetes.io/node-name': ['node-1'] };
  const AGENT = 'system:serviceaccount:orlop-system:orlop-agent';

  /** What the API server says of any token. */
  function reviewing(status: unknown, clock = new FakeClock(), keys: Pick<ServiceAccountKeys, 'verify'> = { verify: async () => undefined }): TokenReview {
    server.intercept = (request, body) => {
      if (request.url !== '/apis/authentication.k8s.io/v1/tokenreviews') return undefined;
      expect(JSON.parse(body)).toMatchObject({ kind: 'TokenReview', spec: { token: 'the-token', audiences: ['istio-ca'] } });
      return { status: 201, body: { kind: 'TokenReview', status } };
    };
    const identities = new NodeIdentities();
    identities.apply(buildSnapshot([{ name: 'pod', value: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'orlop-agent-x', namespace: 'orlop-system', uid: 'uid-1' }, spec: { nodeName: 'node-2' }, status: { phase: 'Running' } } }]));
    return new TokenReview({ client: server.client(), agents: new Set(['orlop-system/orlop-agent']), audience: 'istio-ca', keys, identities, clock, log });
  }

  it('is the one that the API server names', async () => {
    await expect(reviewing({ authenticated: true, audiences: ['istio-ca'], user: { username: AGENT, extra: ON_NODE } }).authenticate('the-token')).resolves.toBe('node-1');
  });

  it('is that of the pod, where the API server is too old to name it', async () => {
    await expect(reviewing({ authenticated: true, audiences: ['istio-ca'], user: { username: AGENT, extra: BOUND } }).authenticate('the-token')).resolves.toBe('node-2');
    const replaced = { ...BOUND, 'authentication.kubernetes.io/pod-uid': ['uid-0'] };
    await expect(reviewing({ authenticated: true, audiences: ['istio-ca'], user: { username: AGENT, extra: replaced } }).authenticate('the-token')).resolves.toBeUndefined();
  });

  it.each([
    ['an invalid token', { authenticated: false }],
    ['a token for another audience', { authenticated: true, audiences: ['https://kubernetes.default.svc'], user: { username: AGENT, extra: ON_NODE } }],
    ['an API server that knows no audiences', { authenticated: true, user: { username: AGENT, extra: ON_NODE } }],
    ['a token of another service account', { authenticated: true, audiences: ['istio-ca'], user: { username: 'system:serviceaccount:shop:orlop-agent', extra: ON_NODE } }],
    ['a user', { authenticated: true, audiences: ['istio-ca'], user: { username: 'orlop-agent', extra: ON_NODE } }],
    ['a token that is bound to nothing', { authenticated: true, audiences: ['istio-ca'], user: { username: AGENT } }],
    ['a token that is bound to a node alone', { authenticated: true, audiences: ['istio-ca'], user: { username: AGENT, extra: { 'authentication.kubernetes.io/node-name': ['node-1'] } } }],
    ['no answer', undefined],
  ])('is nobody\'s for %s', async (_, status) => {
    await expect(reviewing(status).authenticate('the-token')).resolves.toBeUndefined();
  });

  it('is asked for again after a while, and not guessed while the API server is away', async () => {
    const clock = new FakeClock();
    const authenticator = reviewing({ authenticated: true, audiences: ['istio-ca'], user: { username: AGENT, extra: ON_NODE } }, clock);
    await authenticator.authenticate('the-token');
    server.intercept = () => ({ status: 500, body: {} });
    await expect(authenticator.authenticate('the-token')).resolves.toBe('node-1');
    clock.advance(10_000);
    await expect(authenticator.authenticate('the-token')).rejects.toThrow(/500/);
  });

  describe('while the API server is away', () => {
    const ISSUER = 'https://kubernetes.default.svc';
    const clock = new FakeClock();
    const claims = { 'iss': ISSUER, 'aud': ['istio-ca'], 'sub': AGENT, 'exp': clock.wallMs() / 1000 + 3_600, 'kubernetes.io': { pod: { name: 'orlop-agent-x', uid: 'uid-1' }, node: { name: 'node-9' } } };
    let keyPair: GenerateKeyPairResult;

    beforeAll(async () => {
      keyPair = await generateKeyPair('RS256');
    });

    async function authenticate(changed: object = {}, { signedBy = keyPair.privateKey, away = { status: 503, body: {} } }: { signedBy?: CryptoKey; away?: { status: number; body: unknown } } = {}): Promise<string | undefined> {
      const keys = new ServiceAccountKeys(server.client(), clock, log);
      closing.push(() => keys.close());
      const jwks = { keys: [{ ...await exportJWK(keyPair.publicKey), kid: 'one', alg: 'RS256', use: 'sig' }] };
      server.intercept = ({ url }) => ({ status: 200, body: url === '/openid/v1/jwks' ? jwks : { issuer: ISSUER } });
      await keys.start();
      const review = reviewing(undefined, clock, keys);
      server.intercept = () => away;
      return review.authenticate(await new SignJWT({ ...claims, ...changed }).setProtectedHeader({ alg: 'RS256', kid: 'one' }).sign(signedBy));
    }

    it('is that of the pod that the token is bound to, as it was last heard of', async () => {
      await expect(authenticate()).resolves.toBe('node-2');
    });

    it('is nobody\'s for a pod that is gone', async () => {
      await expect(authenticate({ 'kubernetes.io': { pod: { name: 'orlop-agent-x', uid: 'uid-0' } } })).resolves.toBeUndefined();
    });

    it('is nobody\'s for another service account', async () => {
      await expect(authenticate({ sub: 'system:serviceaccount:shop:cart' })).resolves.toBeUndefined();
    });

    it.each([
      ['has expired', { exp: clock.wallMs() / 1000 - 60 }],
      ['never expires', { exp: undefined }],
      ['is for another audience', { aud: ['https://kubernetes.default.svc'] }],
      ['is of another issuer', { iss: 'https://elsewhere' }],
      ['is bound to no pod', { 'kubernetes.io': {} }],
    ])('is not known by a token that %s', async (_, changed) => {
      await expect(authenticate(changed)).rejects.toThrow(/503/);
    });

    it('is not known by a token that somebody else has signed, and not where the API server refuses', async () => {
      await expect(authenticate({}, { signedBy: (await generateKeyPair('RS256')).privateKey })).rejects.toThrow(/503/);
      await expect(authenticate({}, { away: { status: 403, body: {} } })).rejects.toThrow(/403/);
    });
  });
});

describe('a CA whose keys are in a Secret', () => {
  const lifetimes = { leafMs: HOUR_MS, intermediateMs: 24 * HOUR_MS, rootMs: 240 * HOUR_MS };

  async function replica(leader: { leads: boolean }, clock = new FakeClock()): Promise<{ ca: Authority; clock: FakeClock }> {
    const store = new SecretStore(server.client(), { namespace: 'orlop-system', name: 'orlop-ca' }, leader);
    const ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes, keys: { store }, clock, log });
    closing.push(() => ca.close());
    return { ca, clock };
  }

  it('is one, also when its replicas start together', async () => {
    const replicas = await Promise.all([replica({ leads: true }), replica({ leads: false }), replica({ leads: false })]);
    expect(new Set(replicas.map(({ ca }) => ca.roots.get())).size).toBe(1);
    expect(server.get('Secret', 'orlop-ca', 'orlop-system')?.['type']).toBe('orlop.io/ca');
    const later = await replica({ leads: false });
    expect(later.ca.roots.get()).toBe(replicas[0]?.ca.roots.get());
  });

  it('is changed by the one that leads; the others trust a new root before anything is signed under it', async () => {
    const leader = await replica({ leads: true });
    const follower = await replica({ leads: false });
    const before = leader.ca.roots.get();
    await leader.ca.rotate('root');
    expect(leader.ca.roots.get().startsWith(before)).toBe(true);
    expect(leader.ca.roots.get()).not.toBe(before);
    follower.clock.advance(5_000);
    await expect.poll(() => follower.ca.roots.get()).toBe(leader.ca.roots.get());
    await expect(follower.ca.rotate('root')).rejects.toThrow('another replica takes the steps of this CA; ask it');
  });

  it('takes no step on what is out of date, when two believe that they lead', async () => {
    const one = await replica({ leads: true });
    const other = await replica({ leads: true });
    await one.ca.rotate('intermediate');
    await expect(other.ca.rotate('root')).rejects.toThrow('another replica has changed the keys of the CA');
    await other.ca.settle();
    await other.ca.rotate('root');
    await one.ca.settle();
    expect(one.ca.roots.get()).toBe(other.ca.roots.get());
  });

  it('is kept again when somebody removes its Secret', async () => {
    const { ca } = await replica({ leads: true });
    server.delete('Secret', 'orlop-ca', 'orlop-system');
    await ca.settle();
    const next = await replica({ leads: false });
    expect(next.ca.roots.get()).toBe(ca.roots.get());
  });
});

describe('the replica that leads', () => {
  async function candidate(identity: string): Promise<{ leadership: Leadership; clock: FakeClock }> {
    const clock = new FakeClock();
    const leadership = new Leadership({ client: server.client(), namespace: 'orlop-system', name: 'orlop-control', identity, clock, random: seededRandom(1), log });
    await leadership.start();
    closing.push(() => leadership.close());
    return { leadership, clock };
  }

  const holder = (): unknown => (server.get('Lease', 'orlop-control', 'orlop-system')?.['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity;

  /** Time passes in steps, so that what waits for answers of the API server gets them. */
  async function pass({ clock }: { clock: FakeClock }, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 500) {
      clock.advance(500);
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
  }

  it('is the first; it goes on leading while it renews its lease', async () => {
    const one = await candidate('one');
    const other = await candidate('other');
    expect([one.leadership.leads, other.leadership.leads]).toEqual([true, false]);
    // The API server takes no other form (meta/v1 MicroTime).
    expect(server.get('Lease', 'orlop-control', 'orlop-system')?.['spec']).toMatchObject({ renewTime: expect.stringMatching(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as string });
    for (let i = 0; i < 4; i += 1) {
      await pass(one, 10_000);
      await pass(other, 10_000);
    }
    expect([one.leadership.leads, other.leadership.leads, holder()]).toEqual([true, false, 'one']);
  });

  it('stops leading before another may begin', async () => {
    const one = await candidate('one');
    const other = await candidate('other');
    server.intercept = (request) => (request.method === 'PUT' ? { status: 500, body: {} } : undefined);
    await pass(one, 10_000);
    expect(one.leadership.leads).toBe(false);
    server.intercept = undefined;
    await pass(other, 14_000);
    expect(other.leadership.leads).toBe(false);
    await pass(other, 5_000);
    expect([other.leadership.leads, holder()]).toEqual([true, 'other']);
    await pass(one, 3_000);
    expect(one.leadership.leads).toBe(false);
  });

  it('gives its lease up when it ends, and another takes over at once', async () => {
    const one = await candidate('one');
    const other = await candidate('other');
    await one.leadership.close();
    expect(one.leadership.leads).toBe(false);
    await pass(other, 3_000);
    expect(other.leadership.leads).toBe(true);
  });
});

describe('published roots', () => {
  it('are what the CA trusts, whoever changes them; only the replica that leads writes', async () => {
    const leader = { leads: false };
    const clock = new FakeClock();
    let roots = 'one';
    const published = publishedRoots({ client: server.client(), namespace: 'orlop-system', name: 'orlop-ca-roots', leader, roots: () => roots, clock, log });
    closing.push(() => published.close());
    const present = (): unknown => server.get('ConfigMap', 'orlop-ca-roots', 'orlop-system')?.['data'];
    await published.start();
    expect(present()).toBeUndefined();
    leader.leads = true;
    clock.advance(1_000);
    await expect.poll(present).toEqual({ 'root-cert.pem': 'one' });
    roots = 'two';
    await expect.poll(() => {
      clock.advance(10_000);
      return present();
    }).toEqual({ 'root-cert.pem': 'two' });
  });
});
