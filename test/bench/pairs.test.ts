import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { IDENTITY, makeCertificates, type Certificates } from '../../bench/pairs/certificates.ts';
import { envoyHboneConfig, envoyMtlsConfig } from '../../bench/pairs/envoy.ts';
import type { Link } from '../../bench/pairs/link.ts';
import { nginxPairConfig } from '../../bench/pairs/nginx.ts';

let dir: string;
let certificates: Certificates;
let link: Link;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'orlop-pairs-'));
  certificates = makeCertificates(dir);
  link = { near: { http: 9001, bulk: 9101 }, far: { http: 9201, bulk: 9301 }, application: '10.77.1.2', certificates, dir };
});

afterAll(() => {
  rmSync(dir, { recursive: true });
});

test('both ends have an ECDSA P-256 leaf with the mesh\'s identity, and the same chain to one root', () => {
  for (const { chain, key, root } of [certificates.client, certificates.server]) {
    const leaf = new X509Certificate(readFileSync(chain));
    expect(leaf.subjectAltName).toContain(`URI:${IDENTITY}`);
    expect(leaf.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
    expect(leaf.checkIssued(new X509Certificate(readFileSync(certificates.authority.chain)))).toBe(true);
    expect(execFileSync('openssl', ['verify', '-CAfile', root, '-untrusted', certificates.authority.chain, chain], { encoding: 'utf8' })).toContain('OK');
    expect(statSync(key).mode & 0o077).toBe(0);
  }
});

test('every foreign far end demands a certificate, and every near end verifies the server\'s', () => {
  expect(nginxPairConfig('far', link).match(/ssl_verify_client on;/g)).toHaveLength(2);
  expect(nginxPairConfig('near', link).match(/proxy_ssl_verify on;/g)).toHaveLength(2);
  for (const config of [envoyMtlsConfig, envoyHboneConfig]) {
    const far = JSON.parse(config('far', link)) as Config;
    for (const { filter_chains: [chain] } of far.static_resources.listeners) {
      expect(chain!.transport_socket!.typed_config).toMatchObject({ require_client_certificate: true, common_tls_context: VERIFIES });
    }
    const near = JSON.parse(config('near', link)) as Config;
    for (const cluster of near.static_resources.clusters) expect(cluster.transport_socket!.typed_config).toMatchObject({ common_tls_context: VERIFIES });
  }
});

interface Secured {
  transport_socket?: { typed_config: object };
}

interface Config {
  static_resources: { listeners: { filter_chains: Secured[] }[]; clusters: Secured[] };
}

const VERIFIES = {
  tls_params: { tls_minimum_protocol_version: 'TLSv1_3' },
  validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: IDENTITY } }] },
};
