import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as http2 from 'node:http2';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { buffer } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CA_SERVER_NAME, CaClient } from '../../src/certs/ca-client.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { Issuer } from '../../src/certs/issuer.ts';
import { IstioCertificateService } from '../../src/certs/istio-ca-protocol.ts';
import type { CreateCertificateResponse } from '../../src/certs/istio-ca-protocol.ts';
import { mintRoot } from '../../src/certs/mint.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { Control } from '../../src/control/control.ts';
import { ask } from '../../src/cli/ask.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { verifyWithOpenssl } from '../certs/openssl.ts';
import { RecordedLog } from '../certs/recorded-log.ts';

const TOKEN_1 = 'token-of-node-1-0123456789abcdef';
const TOKEN_2 = 'token-of-node-2-0123456789abcdef';
const REVIEWS = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
const RATINGS = 'spiffe://cluster.local/ns/bookinfo/sa/ratings';

let directory: string;
let control: Control;
let httpPort: number;

const path = (name: string): string => join(directory, name);

function pod(name: string, node: string, phase = 'Running'): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'bookinfo' }, spec: { serviceAccountName: name, nodeName: node }, status: { phase, podIP: '10.0.0.1' } });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-control-'));
  httpPort = await freePort();
  writeFileSync(path('tokens'), `# tokens\n${TOKEN_1},node-1\n\n${TOKEN_2}, node-2\n`);
  writeFileSync(path('token-1'), `${TOKEN_1}\n`);
  const config = mkdtempSync(path('config-'));
  writeFileSync(join(config, 'reviews.yaml'), pod('reviews', 'node-1'));
  writeFileSync(join(config, 'ratings.yaml'), pod('ratings', 'node-2'));
  writeFileSync(join(config, 'job.yaml'), pod('job', 'node-1', 'Succeeded'));
  control = await Control.start({
    config: { directory: config },
    nodes: { tokens: path('tokens') },
    listen: { address: '127.0.0.1', port: 0 },
    names: [CA_SERVER_NAME],
    keys: 'memory',
    lifetimes: { leafMs: 3_600_000, intermediateMs: 86_400_000, rootMs: 864_000_000 },
    rootsOut: path('roots.pem'),
    httpPort,
    runDirectory: directory,
    logLevel: 'silent',
  });
});

afterAll(async () => {
  await control.stop();
  rmSync(directory, { recursive: true });
});

interface Call {
  readonly csr?: string;
  readonly identity?: string;
  readonly authorization?: string;
  readonly roots?: Buffer;
  readonly validityDuration?: number;
}

/** One call with a plain gRPC client: the chain, or the error. */
async function call({ csr, identity = REVIEWS, authorization = `Bearer ${TOKEN_1}`, roots = readFileSync(path('roots.pem')), validityDuration = 0 }: Call): Promise<readonly string[] | ServiceError> {
  const client = new Client(`127.0.0.1:${control.port}`, credentials.createSsl(roots), { 'grpc.ssl_target_name_override': CA_SERVER_NAME });
  const metadata = new Metadata();
  if (authorization !== '') metadata.set('authorization', authorization);
  const request = { csr: csr ?? (await createCsr(identity)).csr, validityDuration, metadata: identity === '' ? null : { fields: { ImpersonatedIdentity: { stringValue: identity } } } };
  const { path: method, requestSerialize, responseDeserialize } = IstioCertificateService['CreateCertificate'] as NonNullable<(typeof IstioCertificateService)[string]>;
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest(method, requestSerialize, responseDeserialize, request, metadata, { deadline: Date.now() + 10_000 }, (error, response) => {
        resolve(error ?? (response as CreateCertificateResponse).certChain);
      });
    });
  } finally {
    client.close();
  }
}

function caClient(overrides: Partial<ConstructorParameters<typeof CaClient>[0]> = {}): CaClient {
  return new CaClient({ address: `127.0.0.1:${control.port}`, serverName: CA_SERVER_NAME, rootsFile: path('roots.pem'), tokenFile: path('token-1'), clock: systemClock, ...overrides });
}

describe('CreateCertificate', () => {
  it('answers as Istio\'s CA does: the leaf, the intermediate, the roots', async () => {
    const chain = (await call({ validityDuration: 600 })) as readonly string[];
    expect(chain).toHaveLength(3);
    const [leaf = '', intermediate = '', roots = ''] = chain;
    const { subjectAltName, validTo } = new X509Certificate(leaf);
    expect(subjectAltName).toBe(`URI:${REVIEWS}`);
    expect(Math.abs(Date.parse(validTo) - Date.now() - 600_000)).toBeLessThan(60_000);
    expect(roots).toBe(readFileSync(path('roots.pem'), 'utf8'));
    expect(verifyWithOpenssl(leaf + intermediate, roots, { atMs: Date.now() })).toBe('');
  });

  it('is on the wire what security/v1alpha1/ca.proto says, to a client that knows nothing but that', async () => {
    // csr = 1, validity_duration = 3, metadata = 4 (google.protobuf.Struct: fields = 1, of key = 1 and value = 2; Value: string_value = 3).
    const field = (number: number, text: string | Buffer): Buffer => Buffer.concat([Buffer.from([number * 8 + 2]), varint(Buffer.byteLength(text)), Buffer.from(text)]);
    const varint = (n: number): Buffer => (n < 128 ? Buffer.from([n]) : Buffer.concat([Buffer.from([(n & 127) + 128]), varint(n >> 7)]));
    const metadata = field(1, Buffer.concat([field(1, 'ImpersonatedIdentity'), field(2, field(3, REVIEWS))]));
    const message = Buffer.concat([field(1, (await createCsr(REVIEWS)).csr), Buffer.from([24]), varint(600), field(4, metadata)]);
    const session = http2.connect(`https://127.0.0.1:${control.port}`, { ca: readFileSync(path('roots.pem')), servername: CA_SERVER_NAME });
    const stream = session.request({ ':method': 'POST', ':path': '/istio.v1.auth.IstioCertificateService/CreateCertificate', 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${TOKEN_1}` });
    const trailers = new Promise<http2.IncomingHttpHeaders>((resolve) => { stream.once('trailers', resolve); });
    const length = Buffer.alloc(5);
    length.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([length, message]));
    const answer = await buffer(stream);
    expect((await trailers)['grpc-status']).toBe('0');
    // cert_chain = 1, three times.
    const chain: string[] = [];
    for (let at = 5; at < answer.length;) {
      expect(answer[at]).toBe(10);
      const size = ((answer[at + 1] as number) & 127) + ((answer[at + 2] as number) << 7);
      chain.push(answer.subarray(at + 3, at + 3 + size).toString());
      at += 3 + size;
    }
    expect(chain).toHaveLength(3);
    expect(new X509Certificate(chain[0] as string).subjectAltName).toBe(`URI:${REVIEWS}`);
    expect(chain[2]).toBe(readFileSync(path('roots.pem'), 'utf8'));
    session.close();
  });

  it('grants no longer life than the CA allows, nor one that has passed', async () => {
    for (const validityDuration of [1e9, -5]) {
      const [leaf = ''] = (await call({ validityDuration })) as readonly string[];
      expect(Math.abs(Date.parse(new X509Certificate(leaf).validTo) - Date.now() - 3_600_000)).toBeLessThan(60_000);
    }
  });

  it.each<[string, Call, status, string]>([
    ['without a token', { authorization: '' }, status.UNAUTHENTICATED, 'the request has no bearer token'],
    ['with a token of nobody', { authorization: `Bearer ${TOKEN_1}x` }, status.UNAUTHENTICATED, 'the bearer token is that of no node'],
    ['with another scheme', { authorization: `Basic ${TOKEN_1}` }, status.UNAUTHENTICATED, 'the request has no bearer token'],
    ['for an identity on another node', { identity: RATINGS }, status.PERMISSION_DENIED, 'no pod with service account bookinfo/ratings is on node node-1'],
    ['for an identity that is nowhere', { identity: REVIEWS.replace('reviews', 'admin') }, status.PERMISSION_DENIED, 'no pod with service account bookinfo/admin is on node node-1'],
    ['for a pod that has ended', { identity: REVIEWS.replace('reviews', 'job') }, status.PERMISSION_DENIED, 'no pod with service account bookinfo/job is on node node-1'],
    ['for another trust domain', { identity: REVIEWS.replace('cluster.local', 'evil.example') }, status.PERMISSION_DENIED, 'the trust domain of this mesh is cluster.local'],
    ['for no identity', { identity: '' }, status.INVALID_ARGUMENT, 'the metadata must name the identity as ImpersonatedIdentity: spiffe://'],
    ['for something that is no identity', { identity: `${REVIEWS}/more` }, status.INVALID_ARGUMENT, 'the metadata must name the identity as ImpersonatedIdentity: spiffe://'],
    ['without a signing request', { csr: 'hello' }, status.INVALID_ARGUMENT, 'the request is not one PEM block of the kind CERTIFICATE REQUEST'],
    ['that is larger than any', { csr: 'x'.repeat(100_000) }, status.RESOURCE_EXHAUSTED, 'larger'],
  ])('refuses a request %s, and says why', async (_, request, code, details) => {
    const error = (await call({ csr: (await createCsr(REVIEWS)).csr, ...request })) as ServiceError;
    expect([error.code, error.details]).toEqual([code, expect.stringContaining(details)]);
  });

  it('is given to the node by its pods: the token of the other node gets the other identity', async () => {
    const [leaf = ''] = (await call({ identity: RATINGS, authorization: `Bearer ${TOKEN_2}` })) as readonly string[];
    expect(new X509Certificate(leaf).subjectAltName).toBe(`URI:${RATINGS}`);
  });

  it('counts what it refuses, by reason, and what it signs', async () => {
    const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    expect(text).toMatch(/^orlop_ca_certificates_issued_total [1-9]/m);
    expect(text).toContain('orlop_ca_requests_refused_total{reason="unauthenticated"} 3\n');
    expect(text).toContain('orlop_ca_requests_refused_total{reason="not_on_node"} 4\n');
    expect(text).toMatch(/^orlop_ca_root_expiry_timestamp_seconds \d{10}$/m);
    expect(text).not.toContain('PRIVATE KEY');
    expect(await (await fetch(`http://127.0.0.1:${httpPort}/healthz/ready`)).text()).toBe('ready\n');
  });
});

describe('the tokens', () => {
  it('are read anew when the file changes; a file with a fault changes nothing', async () => {
    const good = readFileSync(path('tokens'), 'utf8');
    writeFileSync(path('tokens'), good.replace(TOKEN_1, 'another-token-of-node-1'));
    expect(await call({})).toMatchObject({ code: status.UNAUTHENTICATED });
    expect(await call({ authorization: 'Bearer another-token-of-node-1' })).toHaveLength(3);
    writeFileSync(path('tokens'), 'no comma here\n');
    expect(await call({ authorization: 'Bearer another-token-of-node-1' })).toHaveLength(3);
    writeFileSync(path('tokens'), good);
    expect(await call({})).toHaveLength(3);
  });
});

describe('the server\'s own certificate', () => {
  it('is renewed while it serves', async () => {
    const brief = await Control.start({
      config: { directory }, nodes: { tokens: path('tokens') }, listen: { address: '127.0.0.1', port: 0 }, names: [CA_SERVER_NAME, 'localhost'], keys: 'memory',
      lifetimes: { leafMs: 3_000, intermediateMs: 86_400_000, rootMs: 864_000_000 }, rootsOut: path('brief.pem'), httpPort: await freePort(), runDirectory: mkdtempSync(path('run-')), logLevel: 'silent',
    });
    const ca = readFileSync(path('brief.pem'));
    const serial = (): Promise<string> => new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: brief.port, servername: 'localhost', ca, ALPNProtocols: ['h2'] }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.on('error', reject);
    });
    const first = await serial();
    await expect.poll(serial, { timeout: 20_000 }).not.toBe(first);
    await brief.stop();
  });
});

describe('an agent\'s client', () => {
  it('feeds an issuer', async () => {
    const ca = caClient();
    const issuer = new Issuer({ ca, clock: systemClock, random: systemRandom, log: new RecordedLog(), lifetimeMs: 3_600_000 });
    issuer.want(REVIEWS);
    await expect.poll(() => issuer.get(REVIEWS)?.identity).toBe(REVIEWS);
    issuer.want(RATINGS);
    await expect.poll(() => issuer.states().find(({ identity }) => identity === RATINGS)?.lastError).toBe(
      `the CA at 127.0.0.1:${control.port} refused: no pod with service account bookinfo/ratings is on node node-1`,
    );
    issuer.close();
    ca.close();
  });

  it('trusts no server but that of its roots, under its name', async () => {
    const { csr } = await createCsr(REVIEWS);
    const foreign = await Control.start({
      config: { directory }, nodes: { tokens: path('tokens') }, listen: { address: '127.0.0.1', port: 0 }, names: [CA_SERVER_NAME], keys: 'memory',
      lifetimes: { leafMs: 3_600_000, intermediateMs: 86_400_000, rootMs: 864_000_000 }, rootsOut: undefined, httpPort: await freePort(), runDirectory: mkdtempSync(path('run-')), logLevel: 'silent',
    });
    const deceived = caClient({ address: `127.0.0.1:${foreign.port}` });
    await expect(deceived.sign({ csr, identity: REVIEWS, lifetimeMs: 0 })).rejects.toThrow(/is away: .*(?:self.signed|certificate)/i);
    const misnamed = caClient({ serverName: 'istiod.istio-system.svc' });
    await expect(misnamed.sign({ csr, identity: REVIEWS, lifetimeMs: 0 })).rejects.toThrow(/is away: .*altnames/i);
    deceived.close();
    misnamed.close();
    await foreign.stop();
  });

  it('reads its roots anew when it meets a server it cannot verify; a missing file is no reason to fall', async () => {
    const { csr } = await createCsr(REVIEWS);
    const request = { csr, identity: REVIEWS, lifetimeMs: 0 };
    const { certificate } = await mintRoot({ trustDomain: 'cluster.local', nowMs: Date.now(), lifetimeMs: 3_600_000 });
    writeFileSync(path('pinned.pem'), certificate);
    const ca = caClient({ rootsFile: path('pinned.pem') });
    rmSync(path('pinned.pem'));
    await expect(ca.sign(request)).rejects.toThrow(/is away: .*certificate/);
    writeFileSync(path('pinned.pem'), readFileSync(path('roots.pem')));
    await expect(ca.sign(request)).rejects.toThrow('is away');
    expect((await ca.sign(request)).roots).toBe(readFileSync(path('roots.pem'), 'utf8'));
    ca.close();
  });

  it('says what is wrong with its files', () => {
    expect(() => caClient({ rootsFile: path('tokens') })).toThrow(`${path('tokens')} holds no certificate; give the roots of the CA in PEM`);
    expect(() => caClient({ rootsFile: path('nowhere') })).toThrow('nowhere');
  });
});

describe('an operator', () => {
  it('changes the root; the file of roots and the agents follow', async () => {
    const socket = path('control.sock');
    const ca = caClient();
    expect(splitCertificates(readFileSync(path('roots.pem'), 'utf8'))).toHaveLength(1);
    expect(await ask(socket, '/ca/rotate?what=root')).toMatchObject({ status: 400 });
    const { status: code, body } = await ask(socket, '/ca/rotate?what=root', 'POST');
    expect(code).toBe(200);
    expect((JSON.parse(body) as { roots: { use: string }[] }).roots.map(({ use }) => use)).toEqual(['signs', 'trusted, signs next']);
    expect(body).not.toContain('PRIVATE KEY');
    expect(splitCertificates(readFileSync(path('roots.pem'), 'utf8'))).toHaveLength(2);
    const { csr } = await createCsr(REVIEWS);
    expect(splitCertificates((await ca.sign({ csr, identity: REVIEWS, lifetimeMs: 0 })).roots)).toHaveLength(2);
    expect(await ca.sign({ csr, identity: REVIEWS, lifetimeMs: 0 })).toBeDefined();
    expect(await ask(socket, '/ca/rotate?what=root', 'POST')).toMatchObject({ status: 409, body: expect.stringContaining('the root is being changed already') as string });
    ca.close();
  });
});
