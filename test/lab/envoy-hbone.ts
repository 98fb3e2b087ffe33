/** A real Envoy as an end of tunnels, with certificates from files: its configuration, and how it is run in a pod. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, constants, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { envoyBinary } from '../../bench/peers/foreign.ts';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import type { Lab } from '../../src/lab/lab.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';
const STARTED = 'starting main dispatch loop';

export function requireEnvoy(): void {
  try {
    accessSync(envoyBinary(), constants.X_OK);
  } catch {
    throw new Error(`Envoy is not at ${envoyBinary()}; run scripts/envoy.sh`);
  }
}

/** Run Envoy in a pod; resolves when it serves. The caller kills it. */
export async function runEnvoy(lab: Lab, pod: string, directory: string, config: object): Promise<ChildProcess> {
  requireEnvoy();
  const path = join(directory, `${pod}.json`);
  writeFileSync(path, JSON.stringify(config));
  const [command = '', ...args] = await lab.execArgv(pod, [envoyBinary(), '-c', path, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'info']);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  for await (const line of createInterface({ input: child.stderr })) {
    said += `${line}\n`;
    if (line.includes(STARTED)) {
      child.stderr.resume();
      return child;
    }
  }
  throw new Error(`Envoy did not start in ${pod}:\n${said}`);
}

/** A listener on loopback whose connections go through a tunnel to `authority`. */
export function tunnelClient(port: number, authority: string, tunnel: { address: string; certificate: WorkloadCertificate; identity: string }): object {
  return {
    static_resources: {
      listeners: [{
        name: 'application',
        address: { socket_address: { address: '127.0.0.1', port_value: port } },
        filter_chains: [{
          filters: [{
            name: 'tcp',
            typed_config: { '@type': `${TYPE}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 'tunnel', cluster: 'tunnel', tunneling_config: { hostname: authority } },
          }],
        }],
      }],
      clusters: [{
        name: 'tunnel',
        typed_extension_protocol_options: HTTP2_UPSTREAM,
        transport_socket: {
          name: 'envoy.transport_sockets.tls',
          typed_config: {
            '@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
            common_tls_context: tls(tunnel.certificate, tunnel.identity),
          },
        },
        load_assignment: endpoint('tunnel', tunnel.address, 15_008),
      }],
    },
  };
}

/** A server of tunnels whose connections go to `applicationPort` on loopback. */
export function tunnelServer(applicationPort: number, certificate: WorkloadCertificate, clientIdentity: string): object {
  return {
    static_resources: {
      listeners: [{
        name: 'tunnels',
        address: { socket_address: { address: '0.0.0.0', port_value: 15_008 } },
        additional_addresses: [{ address: { socket_address: { address: '::', port_value: 15_008 } } }],
        filter_chains: [{
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
              require_client_certificate: true,
              common_tls_context: tls(certificate, clientIdentity),
            },
          },
          filters: [{
            name: 'http',
            typed_config: {
              '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: 'tunnels',
              http2_protocol_options: { allow_connect: true },
              upgrade_configs: [{ upgrade_type: 'CONNECT' }],
              http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } }],
              route_config: {
                virtual_hosts: [{
                  name: 'all',
                  domains: ['*'],
                  routes: [{ match: { connect_matcher: {} }, route: { cluster: 'application', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] } }],
                }],
              },
            },
          }],
        }],
      }],
      clusters: [{ name: 'application', load_assignment: endpoint('application', '127.0.0.1', applicationPort) }],
    },
  };
}

const HTTP2_UPSTREAM = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`, explicit_http_config: { http2_protocol_options: {} } },
};

function endpoint(cluster: string, address: string, port: number): object {
  return { cluster_name: cluster, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address, port_value: port } } } }] }] };
}

/** As HBONE has it: TLS 1.3, ALPN h2, and a peer that has the identity. */
function tls({ chain, key, roots }: WorkloadCertificate, peer: string): object {
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    alpn_protocols: ['h2'],
    tls_certificates: [{ certificate_chain: { inline_string: chain }, private_key: { inline_string: key } }],
    validation_context: { trusted_ca: { inline_string: roots }, match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peer } }] },
  };
}
