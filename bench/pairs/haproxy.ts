/** haproxy to haproxy: HTTP/1.1 over kept mutual TLS connections, and mode tcp for bytes. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { BULK_PORT, HTTP_PORT } from '../backend.ts';
import type { CertificateFiles } from '../bench.ts';
import { SERVER_NAME } from './certificates.ts';
import type { End, Link } from './link.ts';

export function haproxyPairConfig(end: End, { near, far, application, certificates, dir }: Link): string {
  const { client, server } = certificates;
  const toServer = ` ssl crt ${bundle(dir, 'client', client)} ca-file ${client.root} verify required verifyhost ${SERVER_NAME}`;
  const fromClient = ` ssl crt ${bundle(dir, 'server', server)} ca-file ${server.root} verify required`;
  const sides = end === 'near'
    ? { address: '127.0.0.1', ports: near, security: '', next: far, nextSecurity: toServer }
    : { address: application, ports: far, security: fromClient, next: { http: HTTP_PORT, bulk: BULK_PORT }, nextSecurity: '' };
  return `global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 10s
  timeout client 600s
  timeout server 600s
frontend http
  bind ${sides.address}:${String(sides.ports.http)} backlog 4096${sides.security}
  default_backend http
backend http
  server next ${application}:${String(sides.next.http)}${sides.nextSecurity}
listen bulk
  mode tcp
  bind ${sides.address}:${String(sides.ports.bulk)}${sides.security}
  server next ${application}:${String(sides.next.bulk)}${sides.nextSecurity}
`;
}

/** haproxy reads chain and key from one file. */
function bundle(dir: string, name: string, { chain, key }: CertificateFiles): string {
  const path = join(dir, `haproxy-${name}.pem`);
  writeFileSync(path, readFileSync(chain, 'utf8') + readFileSync(key, 'utf8'), { mode: 0o600 });
  return path;
}
