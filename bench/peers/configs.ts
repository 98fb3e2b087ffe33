/** Configurations of the foreign proxies, as text. */
import { BULK_PORT, HTTP_PORT } from '../backend.ts';
import { BACKEND_ADDRESS } from '../topology.ts';

export interface Ports {
  readonly http: number;
  readonly bulk: number;
}

const HTTP_BACKEND = `${BACKEND_ADDRESS}:${String(HTTP_PORT)}`;
const BULK_BACKEND = `${BACKEND_ADDRESS}:${String(BULK_PORT)}`;

export function nginxConfig(ports: Ports, dir: string): string {
  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
events { worker_connections 16384; }
http {
  access_log off;
  # nginx closes a connection after 1,000 requests by default; the others never do.
  keepalive_requests 100000000;
  upstream backend {
    server ${HTTP_BACKEND};
    keepalive 128;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:${String(ports.http)} backlog=4096;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
    }
  }
}
stream {
  server {
    listen 127.0.0.1:${String(ports.bulk)};
    proxy_pass ${BULK_BACKEND};
  }
}
`;
}

export function haproxyConfig(ports: Ports): string {
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 10s
  timeout client 600s
  timeout server 600s
frontend http
  bind 127.0.0.1:${String(ports.http)} backlog 4096
  default_backend http
backend http
  server backend ${HTTP_BACKEND}
listen bulk
  mode tcp
  bind 127.0.0.1:${String(ports.bulk)}
  server backend ${BULK_BACKEND}
`;
}

export function envoyConfig(ports: Ports): string {
  return `static_resources:
  listeners:
  - name: http
    address: { socket_address: { address: 127.0.0.1, port_value: ${String(ports.http)} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: http }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  - name: bulk
    address: { socket_address: { address: 127.0.0.1, port_value: ${String(ports.bulk)} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bulk
          cluster: bulk
  clusters:
${cluster('http', HTTP_PORT)}${cluster('bulk', BULK_PORT)}`;
}

function cluster(name: string, port: number): string {
  return `  - name: ${name}
    type: STATIC
    load_assignment:
      cluster_name: ${name}
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: ${BACKEND_ADDRESS}, port_value: ${String(port)} } } }
`;
}
