/** nginx to nginx: HTTP/1.1 over kept mutual TLS connections, and its stream module for bytes. */
import { BULK_PORT, HTTP_PORT } from '../backend.ts';
import type { CertificateFiles } from '../bench.ts';
import { SERVER_NAME } from './certificates.ts';
import type { End, Link } from './link.ts';

export function nginxPairConfig(end: End, link: Link): string {
  const { near, far, application, certificates, dir } = link;
  const servers = end === 'near'
    ? { http: httpServer(`127.0.0.1:${String(near.http)}`, 'https', '', toServer(certificates.client)), bulk: streamServer(`127.0.0.1:${String(near.bulk)}`, far.bulk, `proxy_ssl on;\n${toServer(certificates.client)}`) }
    : { http: httpServer(`${application}:${String(far.http)} ssl`, 'http', fromClient(certificates.server), ''), bulk: streamServer(`${application}:${String(far.bulk)} ssl`, BULK_PORT, fromClient(certificates.server)) };

  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid ${dir}/nginx-mtls-${end}.pid;
events { worker_connections 16384; }
http {
  access_log off;
  # nginx closes a connection after 1,000 requests by default; the others never do.
  keepalive_requests 100000000;
  upstream next {
    server ${application}:${String(end === 'near' ? far.http : HTTP_PORT)};
    keepalive 128;
    keepalive_requests 100000000;
  }
${servers.http}}
stream {
${servers.bulk}}
`;

  function streamServer(listen: string, port: number, security: string): string {
    return `  server {
    listen ${listen};
    proxy_pass ${application}:${String(port)};
${security}  }
`;
  }
}

function httpServer(listen: string, scheme: string, fromSecurity: string, toSecurity: string): string {
  return `  server {
    listen ${listen} backlog=4096;
${fromSecurity}    location / {
      proxy_pass ${scheme}://next;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
${toSecurity}    }
  }
`;
}

function toServer({ chain, key, root }: CertificateFiles): string {
  return `      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_certificate ${chain};
      proxy_ssl_certificate_key ${key};
      proxy_ssl_trusted_certificate ${root};
      proxy_ssl_name ${SERVER_NAME};
      proxy_ssl_verify on;
      proxy_ssl_verify_depth 2;
`;
}

function fromClient({ chain, key, root }: CertificateFiles): string {
  return `    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_certificate ${chain};
    ssl_certificate_key ${key};
    ssl_client_certificate ${root};
    ssl_verify_client on;
    ssl_verify_depth 2;
`;
}
