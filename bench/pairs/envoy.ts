/**
 * Envoy to Envoy, as JSON that Envoy reads: `envoy-mtls` has an HTTP connection manager at both ends and HTTP/1.1 over mutual TLS
 * between them; `envoy-hbone` carries every connection unread in a CONNECT stream of HTTP/2 over mutual TLS, as ambient meshes do.
 */
import { BULK_PORT, HTTP_PORT } from '../backend.ts';
import type { CertificateFiles, Target } from '../bench.ts';
import { IDENTITY } from './certificates.ts';
import type { End, Link } from './link.ts';

const EXTENSIONS = 'type.googleapis.com/envoy.extensions';
const TLS = `${EXTENSIONS}.transport_sockets.tls.v3`;

export function envoyMtlsConfig(end: End, { near, far, application, certificates }: Link): string {
  if (end === 'near') {
    const security = toServer(certificates.client, ['http/1.1']);
    return render(
      [listener('http', '127.0.0.1', near.http, manager(routes('http'))), listener('bulk', '127.0.0.1', near.bulk, tcpProxy('bulk'))],
      [cluster('http', application, far.http, security), cluster('bulk', application, far.bulk, security)],
    );
  }
  const security = fromClient(certificates.server, ['http/1.1']);
  return render(
    [listener('http', application, far.http, manager(routes('http')), security), listener('bulk', application, far.bulk, tcpProxy('bulk'), security)],
    [cluster('http', application, HTTP_PORT), cluster('bulk', application, BULK_PORT)],
  );
}

export function envoyHboneConfig(end: End, { near, far, application, certificates }: Link): string {
  const authority = (port: number): string => `${application}:${String(port)}`;
  if (end === 'near') {
    const through = (port: number): object => tcpProxy('tunnel', { tunneling_config: { hostname: authority(port) } });
    return render(
      [listener('http', '127.0.0.1', near.http, through(HTTP_PORT)), listener('bulk', '127.0.0.1', near.bulk, through(BULK_PORT))],
      [cluster('tunnel', application, far.http, { ...toServer(certificates.client, ['h2']), ...http2() })],
    );
  }
  const hosts = [['http', HTTP_PORT], ['bulk', BULK_PORT]] as const;
  const virtualHosts = hosts.map(([name, port]) => ({
    name,
    domains: [authority(port)],
    routes: [{ match: { connect_matcher: {} }, route: { cluster: name, timeout: '0s', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] } }],
  }));
  const terminates = manager(virtualHosts, { codec_type: 'HTTP2', upgrade_configs: [{ upgrade_type: 'CONNECT' }], http2_protocol_options: { allow_connect: true } });
  return render(
    [listener('tunnel', application, far.http, terminates, fromClient(certificates.server, ['h2']))],
    hosts.map(([name, port]) => cluster(name, application, port)),
  );
}

/** Nobody's near end: opens a tunnel of its own, on a connection of its own, for each connection that it takes at `port`. */
export function tunnelOpenerConfig(port: number, target: Target, application: string, client: CertificateFiles): string {
  const filter = tcpProxy('tunnel', { tunneling_config: { hostname: `${application}:${String(HTTP_PORT)}` } });
  return render(
    [listener('http', '127.0.0.1', port, filter)],
    [cluster('tunnel', target.host, target.port, { ...toServer(client, ['h2']), ...http2({ max_requests_per_connection: 1 }) })],
  );
}

function render(listeners: readonly object[], clusters: readonly object[]): string {
  return JSON.stringify({ static_resources: { listeners, clusters } });
}

function listener(name: string, address: string, port: number, filter: object, security: object = {}): object {
  return { name, address: socketAddress(address, port), filter_chains: [{ filters: [filter], ...security }] };
}

function cluster(name: string, address: string, port: number, more: object = {}): object {
  const endpoint = { endpoint: { address: socketAddress(address, port) } };
  return { name, type: 'STATIC', load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] }, ...more };
}

function socketAddress(address: string, port: number): object {
  return { socket_address: { address, port_value: port } };
}

function manager(virtualHosts: readonly object[], more: object = {}): object {
  const router = { name: 'envoy.filters.http.router', typed_config: { '@type': `${EXTENSIONS}.filters.http.router.v3.Router` } };
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: 'http',
      route_config: { virtual_hosts: virtualHosts },
      http_filters: [router],
      ...more,
    },
  };
}

function routes(name: string): object[] {
  return [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: name } }] }];
}

function tcpProxy(name: string, more: object = {}): object {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: { '@type': `${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: name, cluster: name, ...more },
  };
}

function http2(limits: object = {}): object {
  const options = {
    '@type': `${EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions`,
    common_http_protocol_options: limits,
    explicit_http_config: { http2_protocol_options: {} },
  };
  return { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options } };
}

function toServer(files: CertificateFiles, alpn: readonly string[]): object {
  return transportSocket({ '@type': `${TLS}.UpstreamTlsContext`, common_tls_context: common(files, alpn) });
}

/** Without session tickets, as no end of a mesh resumes: every connection proves its identity anew. */
function fromClient(files: CertificateFiles, alpn: readonly string[]): object {
  return transportSocket({
    '@type': `${TLS}.DownstreamTlsContext`,
    require_client_certificate: true,
    disable_stateless_session_resumption: true,
    common_tls_context: common(files, alpn),
  });
}

function transportSocket(config: object): object {
  return { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: config } };
}

function common({ chain, key, root }: CertificateFiles, alpn: readonly string[]): object {
  return {
    alpn_protocols: alpn,
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [{ certificate_chain: { filename: chain }, private_key: { filename: key } }],
    validation_context: { trusted_ca: { filename: root }, match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: IDENTITY } }] },
  };
}
