/**
 * A real Envoy in a pod that has its certificate and roots from the workload socket, both ways of asking. Certificates live for
 * seconds, intermediate and root of the CA change, while openssl and curl make requests with mutual TLS: every one is answered.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, chmodSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { envoyBinary } from '../../bench/peers/foreign.ts';
import { WorkloadSocket } from '../../src/agent/workload-socket.ts';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import { Issuer } from '../../src/certs/issuer.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { verifyChain } from '../../src/certs/verify-chain.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { collectingLog } from '../certs/workload-world.ts';
import type { LogLine } from '../certs/workload-world.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const HOUR_MS = 3_600_000;
const STREAM_PORT = 8443;
const DELTA_PORT = 8444;
const LIFETIME_MS = 8_000;
/** When a new root signs: after the life of a leaf and the CA's margin. */
const ROOT_CHANGE_MS = LIFETIME_MS + 10_000;
const FLOW_MS = ROOT_CHANGE_MS + LIFETIME_MS;

let cluster: Cluster;
let server: Host;
let client: Host;
let directory: string;
let authority: Authority;
let issuer: Issuer;
let lines: LogLine[];
let socket: WorkloadSocket;
/** Path of the client's newest `.chain`, `.key` and `.roots`, without the ending. */
let clientFiles: string;
let envoy: ChildProcess;

beforeAll(requireEnvoy);

beforeEach(async () => {
  cluster = Cluster.create({ nodes: 1 });
  [server, client] = [cluster.addPod(1, 'server'), cluster.addPod(1, 'client')];
  directory = mkdtempSync(join(tmpdir(), 'orlop-envoy-'));
  chmodSync(directory, 0o711);
  lines = [];
  const log = collectingLog(lines);
  const lifetimes = { leafMs: LIFETIME_MS, intermediateMs: HOUR_MS, rootMs: HOUR_MS };
  authority = await Authority.open({ trustDomain: 'cluster.local', lifetimes, keys: { store: new MemoryCaStore() }, clock: systemClock, log });
  issuer = new Issuer({ ca: authority, clock: systemClock, random: systemRandom, log, lifetimeMs: LIFETIME_MS });
  socket = new WorkloadSocket(join(directory, 'workload'), { source: issuer, clock: systemClock, log });
  await socket.listen();
  socket.enrol({ id: 'shop/server', identity: SERVER, netnsPath: server.netnsPath });
  envoy = startEnvoy();
});

afterEach(async () => {
  envoy.kill('SIGKILL');
  socket.close();
  issuer.close();
  await authority.close();
  await cluster[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

test('its certificate, the intermediate and the root change while requests flow, and none fails', async () => {
  const issued: WorkloadCertificate[] = [];
  issuer.follow((certificate) => {
    if (certificate.identity === CLIENT) keepForClient(certificate);
    else if (certificate.serial !== issued.at(-1)?.serial) issued.push(certificate);
  });
  const complaints = text(envoy.stderr as NodeJS.ReadableStream);
  for (const identity of [SERVER, CLIENT]) issuer.want(identity);
  await untilServed();

  const flow = new AbortController();
  const handshakes = Promise.all([STREAM_PORT, DELTA_PORT].map((port) => keepAsking(port, flow.signal)));
  const kept = keepAlive(STREAM_PORT);
  await authority.rotate('root');
  await setTimeout(FLOW_MS / 4);
  await authority.rotate('intermediate');
  await setTimeout((FLOW_MS * 3) / 4);
  flow.abort();
  for (const serials of await handshakes) {
    const seen = [...new Set(serials)];
    const shown = issued.slice(issued.findIndex(({ serial }) => serial === seen[0])).slice(0, seen.length);
    expect(seen).toEqual(shown.map(({ serial }) => serial));
    expect(seen.length).toBeGreaterThanOrEqual(Math.floor(FLOW_MS / LIFETIME_MS) + 1);
    expect(new Set(shown.map(rootOf)).size).toBe(2);
  }
  expect(new Set((await kept).trim().split('\n'))).toEqual(new Set(['200 0']));
  envoy.kill('SIGKILL');
  expect(await complaints).not.toMatch(/\[config\]|\[critical\]/);
  expect(lines.filter(({ level }) => level !== 'info')).toEqual([]);
}, 90_000);

function rootOf({ chain, roots, notAfterMs }: WorkloadCertificate): string {
  return verifyChain(chain, roots, notAfterMs - 1);
}

/** Each in files of its own, so that no client reads one while it is written. */
function keepForClient({ chain, key, roots, serial }: WorkloadCertificate): void {
  const name = `${join(directory, serial)}-${splitCertificates(roots).length}`;
  for (const [part, content] of [['chain', chain], ['key', key], ['roots', roots]] as const) writeFileSync(`${name}.${part}`, content, { mode: 0o600 });
  clientFiles = name;
}

function startEnvoy(): ChildProcess {
  const config = join(directory, 'envoy.json');
  writeFileSync(config, JSON.stringify(envoyConfig()));
  const args = ['-c', config, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'];
  return server.netns.run(() => spawn(envoyBinary(), args, { stdio: ['ignore', 'ignore', 'pipe'] }));
}

async function untilServed(): Promise<void> {
  for (const port of [STREAM_PORT, DELTA_PORT]) {
    await expect.poll(async () => request(port).then(() => 'served', (error: unknown) => String(error)), { timeout: 20_000, interval: 200 }).toBe('served');
  }
}

/** Handshake after handshake; the serial of each certificate that was shown and verified. */
async function keepAsking(port: number, signal: AbortSignal): Promise<string[]> {
  const serials: string[] = [];
  while (!signal.aborted) {
    serials.push(await request(port));
    await setTimeout(50);
  }
  return serials;
}

/** One request on a connection of its own, by openssl, which verifies the chain; answers the serial of the certificate shown. */
async function request(port: number): Promise<string> {
  const identity = ['-cert', `${clientFiles}.chain`, '-cert_chain', `${clientFiles}.chain`, '-key', `${clientFiles}.key`];
  const args = ['s_client', '-connect', `${server.ipv4}:${port}`, '-verify_return_error', '-ign_eof', '-CAfile', `${clientFiles}.roots`, ...identity];
  const child = client.netns.run(() => spawn('openssl', args, { stdio: 'pipe' }));
  child.stdin.end('GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n');
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (!out.includes('HTTP/1.1 200 OK') || !out.includes('Verify return code: 0 (ok)')) throw new Error(`request to ${port} failed:\n${out}\n${err}`);
  return new X509Certificate(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(out)?.[0] ?? '').serialNumber.toLowerCase();
}

/** Requests by curl on one connection that was made before the first rotation: a line for each, with its status and new connections. */
async function keepAlive(port: number): Promise<string> {
  const seconds = Math.floor(FLOW_MS / 1_000);
  const urls = `https://${server.ipv4}:${port}/[0-${seconds * 10}]`;
  const identity = ['--cert', `${clientFiles}.chain`, '--key', `${clientFiles}.key`];
  // curl knows names of hosts only; that the chain is right is what openssl checks.
  const args = ['-sk', '--http1.1', '--rate', '10/s', '-w', '%{http_code} %{num_connects}\n', '-o', '/dev/null', ...identity, urls];
  const child = client.netns.run(() => spawn('curl', args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  const [out] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  const [first, ...others] = out.trim().split('\n');
  expect(first).toBe('200 1');
  expect(others).toHaveLength(seconds * 10);
  return others.join('\n');
}

function envoyConfig(): object {
  return {
    node: { id: 'server', cluster: 'shop' },
    static_resources: {
      listeners: [
        listener(STREAM_PORT, secret('GRPC', 'default'), secret('GRPC', 'ROOTCA')),
        listener(DELTA_PORT, secret('DELTA_GRPC', SERVER), secret('DELTA_GRPC', 'spiffe://cluster.local')),
      ],
      clusters: [{
        name: 'orlop',
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
        load_assignment: { cluster_name: 'orlop', endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: socket.path } } } }] }] },
      }],
    },
  };
}

function secret(apiType: 'GRPC' | 'DELTA_GRPC', name: string): object {
  return {
    name,
    sds_config: {
      resource_api_version: 'V3',
      api_config_source: { api_type: apiType, transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'orlop' } }] },
    },
  };
}

function listener(port: number, certificate: object, roots: object): object {
  return {
    name: `tls-${port}`,
    address: { socket_address: { address: '0.0.0.0', port_value: port } },
    filter_chains: [{
      transport_socket: {
        name: 'envoy.transport_sockets.tls',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
          require_client_certificate: true,
          common_tls_context: { tls_certificate_sds_secret_configs: [certificate], validation_context_sds_secret_config: roots },
        },
      },
      filters: [{
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
          stat_prefix: 'server',
          http_filters: [{ name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }],
          route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'ok\n' } } }] }] },
        },
      }],
    }],
  };
}

function requireEnvoy(): void {
  try {
    accessSync(envoyBinary(), constants.X_OK);
  } catch {
    throw new Error(`Envoy is not at ${envoyBinary()}; run scripts/envoy.sh`);
  }
}
