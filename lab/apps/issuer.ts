/**
 * An identity provider: its key set under /keys and by discovery, tokens for whoever asks (/token?sub=alice&aud=shop&seconds=600),
 * and a new key in place of the present one (/rotate). Everybody is who he says he is: this is for laboratories.
 */
import { createServer } from 'node:http';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import type { CryptoKey, JWK } from 'jose';

interface Key {
  readonly id: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

const PORT = Number(process.env['PORT'] ?? 8080);
const ISSUER = process.env['ISSUER'] ?? 'https://issuer.example';

let made = 0;
let key = await newKey();

async function newKey(): Promise<Key> {
  made += 1;
  const id = `key-${made}`;
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  return { id, privateKey, jwk: { ...(await exportJWK(publicKey)), kid: id, alg: 'ES256', use: 'sig' } };
}

/** Every parameter but `seconds` is a claim. */
async function token(parameters: URLSearchParams): Promise<string> {
  const { seconds = '600', ...claims } = Object.fromEntries(parameters);
  return new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: key.id }).setIssuer(ISSUER).setIssuedAt().setExpirationTime(Math.floor(Date.now() / 1000) + Number(seconds)).sign(key.privateKey);
}

async function answer({ pathname, searchParams }: URL, host: string): Promise<string> {
  switch (pathname) {
    case '/token':
      return token(searchParams);
    case '/rotate':
      key = await newKey();
      return key.id;
    case '/keys':
      return JSON.stringify({ keys: [key.jwk] });
    case '/.well-known/openid-configuration':
      return JSON.stringify({ issuer: ISSUER, jwks_uri: `http://${host}/keys` });
    default:
      return 'an identity provider for laboratories: /token, /keys, /rotate\n';
  }
}

createServer((request, response) => {
  const host = request.headers.host ?? 'issuer';
  answer(new URL(request.url ?? '/', `http://${host}`), host).then(
    (body) => response.end(body),
    (error: unknown) => response.writeHead(500).end(String(error)),
  );
}).listen(PORT, '::', () => {
  process.stdout.write(`issuer ${ISSUER} listens on ${PORT}\n`);
});
