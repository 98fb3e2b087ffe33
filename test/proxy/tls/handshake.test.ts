/** Who gets a tunnel to a pod and who does not, over real sockets: and what the log says of those who do not. */
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connect, createServer as createTlsServer } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { WorkloadCertificate } from '../../../src/certs/certificate.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { acceptHandles } from '../../../src/proxy/socket-transport.ts';
import { acceptTls } from '../../../src/proxy/tls/accept.ts';
import type { AcceptOutcome } from '../../../src/proxy/tls/accept.ts';
import { connectToWorkload } from '../../../src/proxy/tls/connect.ts';
import { Credentials } from '../../../src/proxy/tls/identities.ts';
import { MeshCa } from './mesh-ca.ts';

const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const HOUR_MS = 3_600_000;

let ca: MeshCa;
let own: WorkloadCertificate;

beforeAll(async () => {
  ca = await MeshCa.create();
  own = await ca.issue(SERVER);
});

describe('the server of a tunnel', () => {
  const listener = createServer();
  let port: number;
  let outcome: PromiseWithResolvers<AcceptOutcome>;

  beforeAll(async () => {
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    ({ port } = listener.address() as AddressInfo);
    acceptHandles(listener, (handle) => acceptTls(handle, new Credentials(own), systemClock, (result) => outcome.resolve(result)));
  });

  beforeEach(() => {
    outcome = Promise.withResolvers();
  });

  afterAll(() => {
    listener.close();
  });

  /** A foreign client; what the server made of it. */
  async function offered(certificate: WorkloadCertificate | undefined, options: ConnectionOptions = {}): Promise<{ outcome: AcceptOutcome; client: TLSSocket }> {
    const identity = certificate === undefined ? {} : { cert: certificate.chain, key: certificate.key };
    const client = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'], ...identity, ...options });
    client.on('error', () => undefined);
    return { outcome: await outcome.promise, client };
  }

  async function refused(certificate: WorkloadCertificate | undefined, options: ConnectionOptions = {}): Promise<string> {
    const { outcome: result, client } = await offered(certificate, options);
    // Whatever its own handshake looked like to it, the client is cut off.
    await closed(client);
    return 'refused' in result ? result.refused : `accepted ${result.identity}`;
  }

  it('knows a pod of its mesh by its certificate, without a server name, in TLS 1.3', async () => {
    const { outcome: result, client } = await offered(await ca.issue(CLIENT));
    if ('refused' in result) throw new Error(result.refused);
    expect(result.identity).toBe(CLIENT);
    result.socket.write('hello');
    expect(String((await once(client, 'data'))[0])).toBe('hello');
    expect(client.getProtocol()).toBe('TLSv1.3');
    expect(client.getCipher().name).toMatch(/^TLS_AES_(?:128|256)_GCM/);
    expect(client.alpnProtocol).toBe('h2');
    expect(client.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${SERVER}`);
    client.destroy();
  });

  it('takes the first name that is a workload\'s where there are several', async () => {
    const names = [{ type: 'dns', value: 'client.shop' }, { type: 'url', value: 'https://shop.example/client' }, { type: 'url', value: CLIENT }] as const;
    const { outcome: result, client } = await offered(await ca.issue(CLIENT, { names: [...names] }));
    expect(result).toMatchObject({ identity: CLIENT });
    client.destroy();
  });

  it('resumes no session: who comes again proves itself again', async () => {
    const certificate = await ca.issue(CLIENT);
    const { client } = await offered(certificate);
    const [session] = await once(client, 'session') as [Buffer];
    client.destroy();
    outcome = Promise.withResolvers();
    expect(await refused(undefined, { session })).toBe('it sent no certificate');
    outcome = Promise.withResolvers();
    const again = await offered(certificate, { session });
    expect(again.client.isSessionReused()).toBe(false);
    again.client.destroy();
  });

  it.each<[string, () => Promise<WorkloadCertificate | undefined>, ConnectionOptions, RegExp]>([
    ['without a certificate', () => Promise.resolve(undefined), {}, /^it sent no certificate$/],
    ['whose certificate has expired', () => ca.issue(CLIENT, { nowMs: Date.now() - 2 * HOUR_MS }), {}, /^its certificate was not accepted: CERT_HAS_EXPIRED$/],
    ['whose certificate is not valid yet', () => ca.issue(CLIENT, { nowMs: Date.now() + 2 * HOUR_MS }), {}, /^its certificate was not accepted: CERT_NOT_YET_VALID$/],
    ['of another CA', async () => (await MeshCa.create()).issue(CLIENT), {}, /^its certificate was not accepted: (?:UNABLE_TO_GET_ISSUER_CERT|UNABLE_TO_VERIFY|SELF_SIGNED)/],
    ['of another trust domain', () => ca.issue('spiffe://elsewhere/ns/shop/sa/client'), {}, /^its identity spiffe:\/\/elsewhere\/ns\/shop\/sa\/client is of another trust domain than cluster\.local$/],
    ['whose name is no workload\'s', () => ca.issue('spiffe://cluster.local/workload/7'), {}, /^its certificate's name spiffe:\/\/cluster\.local\/workload\/7 is not spiffe:\/\/TRUST-DOMAIN\/ns\/NAMESPACE\/sa\/ACCOUNT$/],
    ['with a DNS name only', () => ca.issue(CLIENT, { names: [{ type: 'dns', value: 'client.shop' }] }), {}, /^its certificate names no SPIFFE id$/],
    ['with TLS 1.2', () => ca.issue(CLIENT), { maxVersion: 'TLSv1.2' }, /^it does not speak TLS 1\.3$/],
    ['with ChaCha20 only', () => ca.issue(CLIENT), { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }, /^it shares no cipher or key exchange with us$/],
    ['without ALPN', () => ca.issue(CLIENT), { ALPNProtocols: [] }, /^it does not speak HTTP\/2 \(ALPN h2\)$/],
    ['with another protocol by ALPN', () => ca.issue(CLIENT), { ALPNProtocols: ['http/1.1'] }, /^it does not speak HTTP\/2 \(ALPN h2\)$/],
  ])('refuses a client %s', async (_who, certificate, options, reason) => {
    expect(await refused(await certificate(), options)).toMatch(reason);
  });

  it('refuses what is no TLS at all', async () => {
    const client = new Socket();
    client.on('error', () => undefined);
    client.connect(port, '127.0.0.1', () => client.write('GET / HTTP/1.1\r\nHost: server\r\n\r\n'));
    expect(await outcome.promise).toEqual({ refused: 'it does not speak TLS' });
  });

  it('says so when the client goes away', async () => {
    const client = new Socket();
    client.connect(port, '127.0.0.1', () => client.destroy());
    expect(await outcome.promise).toEqual({ refused: 'it closed the connection during the handshake' });
  });
});

describe('the client of a tunnel', () => {
  async function dial(shown: WorkloadCertificate, options: { maxVersion?: 'TLSv1.2'; ALPNProtocols?: string[] } = {}): Promise<{ error?: string; serverName?: string | false; client?: string | undefined }> {
    const { maxVersion, ALPNProtocols = ['h2'] } = options;
    const server = createTlsServer({ cert: shown.chain, key: shown.key, ca: ca.roots, requestCert: true, ALPNProtocols, ...(maxVersion && { maxVersion }) });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
    accepted.catch(() => undefined);
    const socket = new Socket();
    const tls = connectToWorkload(socket.connect((server.address() as AddressInfo).port, '127.0.0.1'), new Credentials(await ca.issue(CLIENT)), [SERVER]);
    const failure = new Promise<{ error: string }>((resolve) => {
      tls.once('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message }));
    });
    const success = once(tls, 'secureConnect').then(async () => {
      const [peer] = await accepted;
      return { serverName: peer.servername as string | false, client: peer.getPeerX509Certificate()?.subjectAltName };
    });
    success.catch(() => undefined);
    try {
      return await Promise.race([failure, success]);
    } finally {
      tls.destroy();
      server.close();
    }
  }

  it('shows its certificate, names no server, and takes the one who has the identity', async () => {
    expect(await dial(own)).toEqual({ serverName: false, client: `URI:${CLIENT}` });
  });

  it('takes a server that has the identity among others', async () => {
    const names = [{ type: 'url', value: 'spiffe://cluster.local/ns/shop/sa/other' }, { type: 'url', value: SERVER }] as const;
    expect(await dial(await ca.issue(SERVER, { names: [...names] }))).toMatchObject({ serverName: false });
  });

  it.each<[string, () => Promise<WorkloadCertificate>, { maxVersion?: 'TLSv1.2'; ALPNProtocols?: string[] }, RegExp]>([
    ['another pod of the mesh', () => ca.issue('spiffe://cluster.local/ns/shop/sa/other'), {}, /^the server is spiffe:\/\/cluster\.local\/ns\/shop\/sa\/other, not spiffe:\/\/cluster\.local\/ns\/shop\/sa\/server$/],
    ['a server that only has a DNS name', () => ca.issue(SERVER, { names: [{ type: 'dns', value: 'localhost' }] }), {}, /^the server is nobody that a SPIFFE id names, not /],
    ['a server whose identity is a DNS name', () => ca.issue(SERVER, { names: [{ type: 'dns', value: SERVER.replaceAll(/[:/]+/g, '.') }] }), {}, /^the server is nobody/],
    ['one with the right name from another CA', async () => (await MeshCa.create()).issue(SERVER), {}, /UNABLE_TO|SELF_SIGNED/],
    ['one with the right name of the past', () => ca.issue(SERVER, { nowMs: Date.now() - 2 * HOUR_MS }), {}, /CERT_HAS_EXPIRED/],
    ['one that has TLS 1.2 only', () => ca.issue(SERVER), { maxVersion: 'TLSv1.2' }, /PROTOCOL_VERSION/],
    ['one that does not speak HTTP/2', () => ca.issue(SERVER), { ALPNProtocols: ['http/1.1'] }, /ALPN|NO_APPLICATION_PROTOCOL/],
  ])('refuses %s', async (_who, certificate, options, reason) => {
    expect((await dial(await certificate(), options)).error).toMatch(reason);
  });
});

/** Resolves when it is over, whatever ended it. */
async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  await new Promise((resolve) => {
    socket.once('close', resolve);
  });
}
