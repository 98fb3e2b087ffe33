/** The certificates of a run: one chain for every pair, so that each verifies and signs the same. Made by openssl, gone with the run. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { CertificateFiles } from '../bench.ts';

/** The name that proxies without an eye for SPIFFE ids verify. */
export const SERVER_NAME = 'server.bench';
/** Who both ends are: what Orlop's CA calls the pods of the mesh. */
export const IDENTITY = 'spiffe://cluster.local/ns/bench/sa/default';

const DAYS = 30;

export interface Certificates {
  readonly client: CertificateFiles;
  readonly server: CertificateFiles;
  /** The intermediate that signs them, for Orlop's CA to sign with. */
  readonly authority: CertificateFiles;
}

/** An ECDSA P-256 root, an intermediate, and a leaf for each end, as PEM files in a new directory under `dir`. */
export function makeCertificates(dir: string): Certificates {
  const place = join(dir, 'certificates');
  mkdirSync(place, { mode: 0o700 });
  const path = (name: string): string => join(place, name);
  const root = path('root.pem');
  const authority = { chain: path('intermediate.pem'), key: path('intermediate.key'), root };
  const usage = 'keyUsage=critical,keyCertSign,cRLSign';
  request(root, path('root.key'), 'root', ['basicConstraints=critical,CA:TRUE', usage]);
  request(authority.chain, authority.key, 'intermediate', ['basicConstraints=critical,CA:TRUE,pathlen:0', usage], { certificate: root, key: path('root.key') });
  const leaf = (name: string): CertificateFiles => {
    const files = { chain: path(`${name}.pem`), key: path(`${name}.key`), root };
    const extensions = [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=serverAuth,clientAuth',
      `subjectAltName=URI:${IDENTITY},DNS:${SERVER_NAME}`,
    ];
    request(files.chain, files.key, name, extensions, { certificate: authority.chain, key: authority.key });
    writeFileSync(files.chain, readFileSync(files.chain, 'utf8') + readFileSync(authority.chain, 'utf8'));
    return files;
  };
  return { client: leaf('client'), server: leaf('server'), authority };
}

function request(out: string, keyOut: string, name: string, extensions: readonly string[], issuer?: { certificate: string; key: string }): void {
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-config', '/dev/null', '-days', String(DAYS),
    '-subj', `/CN=${name}`, '-out', out, '-keyout', keyOut,
    ...(issuer === undefined ? [] : ['-CA', issuer.certificate, '-CAkey', issuer.key]),
    ...extensions.flatMap((extension) => ['-addext', extension]),
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
}
