/** OpenSSL as the foreign judge of certificates. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { splitCertificates } from '../../src/certs/pem.ts';

/** `openssl x509 -text` of the first certificate. */
export function describeWithOpenssl(pem: string): string {
  return execFileSync('openssl', ['x509', '-noout', '-text', '-nameopt', 'RFC2253'], { input: pem, encoding: 'utf8' });
}

/** `openssl verify -x509_strict` of a chain (the leaf first) under `roots`, at a time; empty when it holds, or what OpenSSL has against it. */
export function verifyWithOpenssl(chain: string, roots: string, options: { atMs: number; purpose?: 'sslserver' | 'sslclient' }): string {
  const directory = mkdtempSync(join(tmpdir(), 'orlop-openssl-'));
  try {
    const [leaf = '', ...intermediates] = splitCertificates(chain);
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const untrusted = intermediates.length === 0 ? [] : ['-untrusted', file('intermediates.pem', intermediates.join(''))];
    const { status, stderr, stdout } = spawnSync(
      'openssl',
      ['verify', '-x509_strict', '-no-CApath', '-no-CAstore', '-purpose', options.purpose ?? 'sslserver', '-attime', String(Math.floor(options.atMs / 1000)), '-CAfile', file('roots.pem', roots), ...untrusted, file('leaf.pem', leaf)],
      { encoding: 'utf8' },
    );
    return status === 0 ? '' : stderr + stdout;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
