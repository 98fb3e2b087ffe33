import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import type { Server } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { UpstreamTls } from '../../../src/mesh/table.ts';
import { Originator } from '../../../src/proxy/tls/originate.ts';

/** Certificates by openssl, for a server `api.example.com` that asks its clients for one. */
const directory = mkdtempSync(join(tmpdir(), 'orlop-originate-'));
const at = (name: string): string => join(directory, name);
const seen: { serverName: string | false | null; client: string; alpn: string | false | null }[] = [];
let server: Server;

beforeAll(async () => {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', '/CN=ca', '-days', '2');
  openssl('req', '-x509', ...key, '-keyout', 'other.key', '-out', 'other.crt', '-subj', '/CN=other', '-days', '2');
  for (const name of ['server', 'client']) {
    const san = name === 'server' ? 'DNS:api.example.com,URI:spiffe://elsewhere/ns/a/sa/b' : 'DNS:client';
    openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.crt`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-subj', `/CN=${name}`, '-days', '2', '-addext', `subjectAltName=${san}`, '-addext', 'basicConstraints=CA:FALSE');
  }
  const read = (name: string): string => readFileSync(at(name), 'utf8');
  server = createServer({ cert: read('server.crt'), key: read('server.key'), ca: read('ca.crt'), requestCert: true, rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] }, (socket) => {
    seen.push({ serverName: (socket as { servername?: string | false }).servername ?? null, client: String(socket.getPeerCertificate().subject?.CN ?? ''), alpn: socket.alpnProtocol });
    socket.on('error', () => undefined);
    socket.end('hello');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
});

afterAll(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

const SIMPLE: UpstreamTls = {
  mode: 'SIMPLE', sni: '', subjectAltNames: [], clientCertificate: '', privateKey: '', caCertificates: '', credentialName: '', insecureSkipVerify: false,
};

/** What the server says to a client that is set up like this; or why there was no connection. */
async function call(tls: Partial<UpstreamTls>, host = 'api.example.com', identities: readonly string[] = []): Promise<string> {
  const { port } = server.address() as AddressInfo;
  seen.length = 0;
  const originator = new Originator(systemClock);
  return new Promise((resolve) => {
    const socket = originator.connect(() => connectTcp(port, '127.0.0.1'), { kind: 'tls', tls: { ...SIMPLE, caCertificates: at('ca.crt'), ...tls }, host, identities, protocols: ['h2'] }, undefined);
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', (error: Error & { code?: string }) => resolve(error.code ?? error.message));
    socket.on('close', () => resolve(text));
  });
}

test('SIMPLE verifies chain and name, and tells the server whom it wants', async () => {
  expect(await call({})).toBe('hello');
  expect(seen).toEqual([{ serverName: 'api.example.com', client: '', alpn: 'h2' }]);
});

test('a server of another CA, or with another name, is refused', async () => {
  expect(await call({ caCertificates: at('other.crt') })).toMatch(/UNABLE_TO_VERIFY|SELF_SIGNED/);
  expect(await call({ caCertificates: '' })).toMatch(/UNABLE_TO|SELF_SIGNED/);
  expect(await call({}, 'other.example.com')).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
});

test('sni names the server where the host does not', async () => {
  expect(await call({ sni: 'api.example.com' }, 'vip.local')).toBe('hello');
  expect(seen[0]?.serverName).toBe('api.example.com');
});

test('subjectAltNames are looked for instead of the name', async () => {
  expect(await call({ subjectAltNames: ['spiffe://elsewhere/ns/a/sa/b'] }, 'vip.local')).toBe('hello');
  expect(await call({ subjectAltNames: ['api.example.com'] }, 'vip.local')).toBe('hello');
  expect(await call({ subjectAltNames: ['spiffe://elsewhere/ns/a/sa/other'] })).toMatch(/not spiffe:\/\/elsewhere\/ns\/a\/sa\/other/);
});

test('the identity that the endpoint would have in the mesh will do, unless only names count', async () => {
  const identities = ['spiffe://elsewhere/ns/a/sa/b'];
  expect(await call({}, 'vip.local', identities)).toBe('hello');
  expect(await call({ onlyNames: true, sni: 'vip.local' }, 'vip.local', identities)).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  expect(await call({ onlyNames: true, sni: 'api.example.com' }, 'vip.local', ['spiffe://cluster.local/ns/shop/sa/cart'])).toBe('hello');
});

test('MUTUAL shows the client certificate', async () => {
  expect(await call({ mode: 'MUTUAL', clientCertificate: at('client.crt'), privateKey: at('client.key') })).toBe('hello');
  expect(seen[0]?.client).toBe('client');
});

test('insecureSkipVerify takes any server', async () => {
  expect(await call({ caCertificates: at('other.crt'), insecureSkipVerify: true }, 'anything')).toBe('hello');
});

test('a file that is missing is named, and no socket is made', () => {
  const tls = { ...SIMPLE, mode: 'MUTUAL' as const, clientCertificate: at('nothing.crt'), privateKey: at('client.key') };
  const open = (): never => {
    throw new Error('a socket was made');
  };
  expect(() => new Originator(systemClock).connect(open, { kind: 'tls', tls, host: 'a', identities: [], protocols: [] }, undefined)).toThrow(/clientCertificate .*nothing\.crt cannot be read: ENOENT/);
});

test('what is no file is not waited for', () => {
  const tls = { ...SIMPLE, caCertificates: '/dev/zero' };
  expect(() => new Originator(systemClock).connect(() => connectTcp(1), { kind: 'tls', tls, host: 'a', identities: [], protocols: [] }, undefined)).toThrow(/caCertificates \/dev\/zero cannot be read: it is no file/);
});

test('the workload\'s own certificate is waited for, not done without', () => {
  const tls = { ...SIMPLE, mode: 'ISTIO_MUTUAL' as const };
  expect(() => new Originator(systemClock).connect(() => connectTcp(1), { kind: 'tls', tls, host: 'a', identities: [], protocols: [] }, undefined)).toThrow(/no certificate yet/);
});
