import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { anywhere, notTheNode } from '../../src/agent/fetch-guard.ts';
import type { AddressRule } from '../../src/agent/fetch-guard.ts';
import { fetchKeys } from '../../src/agent/jwks-fetch.ts';
import { jwksOf, signingKey } from '../proxy/jwt/issuer.ts';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(listener: RequestListener, server: Server = createServer()): Promise<string> {
  servers.push(server.on('request', listener));
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function fetchFrom(url: string, { discovery = false, rule = anywhere, signal = AbortSignal.timeout(10_000) }: { discovery?: boolean; rule?: AddressRule; signal?: AbortSignal } = {}): Promise<string[]> {
  const keys = await fetchKeys({ key: url, url, discovery, timeoutMs: 10_000 }, { rule, signal });
  return keys.map(({ kid }) => kid);
}

const jwks = jwksOf(await signingKey('ES256', 'one'), await signingKey('RS256', 'two'));

describe('keys are fetched', () => {
  test('from their address, with a redirect on the way', async () => {
    const host = await serve(({ url }, response) => {
      if (url === '/keys') response.writeHead(302, { location: '/v2/keys' }).end();
      else response.end(jwks);
    });
    expect(await fetchFrom(`http://${host}/keys`)).toEqual(['one', 'two']);
  });

  test('by discovery under the issuer', async () => {
    const host = await serve(({ url }, response) => {
      if (url === '/realm/.well-known/openid-configuration') response.end(JSON.stringify({ jwks_uri: `http://${host}/certs` }));
      else response.end(url === '/certs' ? jwks : '');
    });
    expect(await fetchFrom(`http://${host}/realm/.well-known/openid-configuration`, { discovery: true })).toEqual(['one', 'two']);
  });
});

describe('nothing is taken', () => {
  const answers = (status: number, body: string): RequestListener => (_request, response) => void response.writeHead(status).end(body);

  test.each<[string, RequestListener, string]>([
    ['from a server that fails', answers(503, jwks), 'answered 503'],
    ['that is no JSON', answers(200, '<html>secret</html>'), 'no JSON Web Key Set'],
    ['that is no key set', answers(200, '{"keys":{}}'), 'no JSON Web Key Set'],
    ['without a usable key', answers(200, '{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}'), 'no public key for signatures'],
    ['that is larger than the bound', answers(200, `{"keys":[],"x":"${'x'.repeat(300_000)}"}`), 'larger than'],
    ['after too many redirects', (_request, response) => void response.writeHead(302, { location: '/again' }).end(), 'redirected more than 3 times'],
    ['from what is not the web', (_request, response) => void response.writeHead(302, { location: 'file:///etc/shadow' }).end(), 'neither https nor http'],
    ['from an address with credentials', (_request, response) => void response.writeHead(302, { location: 'http://a:b@127.0.0.1/' }).end(), 'has credentials'],
    ['from a server that hangs up', (_request, response) => void response.destroy(), 'socket hang up'],
  ])('%s', async (_name, listener, reason) => {
    const host = await serve(listener);
    const failure = await fetchFrom(`http://${host}/keys?secret=1`).catch((error: unknown) => String(error));
    expect(failure).toContain(reason);
    expect(failure).not.toContain('secret');
  });

  test('from a server that does not answer in time', async () => {
    const host = await serve(() => undefined);
    await expect(fetchFrom(`http://${host}/`, { signal: AbortSignal.timeout(20) })).rejects.toThrow('no answer in time');
  });

  test('from a server whose certificate nobody vouches for', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'orlop-jwks-'));
    try {
      const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
      execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-subj', '/CN=localhost', '-days', '1'], { stdio: 'ignore' });
      const host = await serve(answers(200, jwks), createSecureServer({ key: readFileSync(key), cert: readFileSync(cert) }));
      await expect(fetchFrom(`https://${host}/keys`)).rejects.toThrow('self-signed certificate');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('what only the node may reach', () => {
  test.each([
    'http://127.0.0.1:15000/', 'http://127.1/', 'http://0x7f.0.0.1/', 'http://2130706433/', 'http://localhost:15000/', 'http://0.0.0.0/', 'http://[::1]/', 'http://[::]/', 'http://[::ffff:127.0.0.1]/',
    'http://[::127.0.0.1]/', 'http://169.254.169.254/latest/meta-data', 'https://[fe80::1]/', 'http://[::ffff:a9fe:a9fe]/', 'http://[64:ff9b::a9fe:a9fe]/', 'http://[2002:7f00:1::]/', 'http://[fd00:ec2::254]/',
    'http://100.100.100.200/', 'http://168.63.129.16/', 'http://224.0.0.1/',
  ])('is not fetched from: %s', async (url) => {
    await expect(fetchFrom(url, { rule: notTheNode })).rejects.toThrow(/is for the node itself|metadata service/);
  });

  test.each(['10.0.0.1', '192.168.1.1', '8.8.8.8', 'fd00::1', '2606:4700::1', '64:ff9b::808:808'])('is not %s', (address) => {
    expect(notTheNode(address)).toBeUndefined();
  });

  test('is not reached by a redirect either', async () => {
    const host = await serve((_request, response) => void response.writeHead(302, { location: 'http://127.0.0.2:1/' }).end());
    const rule: AddressRule = (address) => (address === '127.0.0.1' ? undefined : `not ${address}`);
    await expect(fetchFrom(`http://${host}/`, { rule })).rejects.toThrow('not 127.0.0.2');
  });
});
