/**
 * A real Envoy in a pod that has its certificate and roots from the workload socket, both ways of asking. Certificates live for
 * seconds and the root changes, while openssl and curl make requests with mutual TLS: every one is answered.
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
import { systemClock } from '../../src/core/clock.ts';
import { RotatingSource } from '../certs/rotating-source.ts';
import { collectingLog } from '../certs/workload-world.ts';
import type { LogLine } from '../certs/workload-world.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const STREAM_PORT = 8443;
const DELTA_PORT = 8444;
const LIFETIME_MS = 6_000;
const ROTATIONS = 4;

let cluster: Cluster;
let server: Host;
let client: Host;
let directory: string;
let source: RotatingSource;
let lines: LogLine[];
let socket: WorkloadSocket;
let envoy: ChildProcess;

beforeAll(requireEnvoy);

beforeEach(async () => {
  cluster = Cluster.create({ nodes: 1 });
  [server, client] = [cluster.addPod(1, 'server'), cluster.addPod(1, 'client')];
  directory = mkdtempSync(join(tmpdir(), 'orlop-envoy-'));
  chmodSync(directory, 0o711);
  source = new RotatingSource();
  lines = [];
  socket = await WorkloadSocket.open(join(directory, 'workload'), { source, clock: systemClock, log: collectingLog(lines) });
  socket.enrol({ id: 'shop/server', identity: SERVER, netnsPath: server.netnsPath });
  envoy = startEnvoy();
});

afterEach(async () => {
  envoy.kill('SIGKILL');
  socket.close();
  await cluster[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

test('its certificate and its roots change while requests flow, and none fails', async () => {
  await issueClient();
  await source.issue(SERVER, LIFETIME_MS);
  const complaints = text(envoy.stderr as NodeJS.ReadableStream);
  await untilServed();

  const flow = new AbortController();
  const handshakes = Promise.all([STREAM_PORT, DELTA_PORT].map((port) => keepAsking(port, flow.signal)));
  const kept = keepAlive(STREAM_PORT);
  const issued: string[] = [];
  for (let i = 0; i < ROTATIONS; i += 1) {
    await setTimeout(LIFETIME_MS / 3);
    if (i === 1) {
      await source.addRoot();
      await issueClient();
      // Whoever has the new root before others show certificates under it loses nothing.
      await setTimeout(1_000);
    }
    issued.push((await source.issue(SERVER, LIFETIME_MS)).serial);
  }
  await setTimeout(LIFETIME_MS / 3);
  flow.abort();
  for (const serials of await handshakes) {
    const seen = [...new Set(serials)];
    expect(seen.slice(-ROTATIONS)).toEqual(issued);
    expect(serials.length).toBeGreaterThan(ROTATIONS);
  }
  expect(new Set((await kept).trim().split('\n'))).toEqual(new Set(['200 0']));
  envoy.kill('SIGKILL');
  expect(await complaints).not.toMatch(/\[config\]|\[critical\]/);
  expect(lines).toEqual([]);
});

/** A client with a certificate under the newest root, which trusts all there are. */
async function issueClient(): Promise<void> {
  const { chain, key, roots } = await source.issue(CLIENT);
  for (const [name, content] of [['chain', chain], ['key', key], ['roots', roots]] as const) writeFileSync(join(directory, `client.${name}`), content, { mode: 0o600 });
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
  const files = ['cert', 'chain', 'key', 'key', 'CAfile', 'roots'].map((word, i) => (i % 2 === 0 ? `-${word}` : join(directory, `client.${word}`)));
  const args = ['s_client', '-connect', `${server.ipv4}:${port}`, '-verify_return_error', '-ign_eof', ...files];
  const child = client.netns.run(() => spawn('openssl', args, { stdio: 'pipe' }));
  child.stdin.end('GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n');
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (!out.includes('HTTP/1.1 200 OK') || !out.includes('Verify return code: 0 (ok)')) throw new Error(`request to ${port} failed:\n${out}\n${err}`);
  return new X509Certificate(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(out)?.[0] ?? '').serialNumber.toLowerCase();
}

/** Requests by curl on one connection that was made before the first rotation: a line for each, with its status and new connections. */
async function keepAlive(port: number): Promise<string> {
  const seconds = Math.floor((ROTATIONS * LIFETIME_MS) / 3 / 1_000);
  const urls = `https://${server.ipv4}:${port}/[0-${seconds * 10}]`;
  const identity = ['--cert', join(directory, 'client.chain'), '--key', join(directory, 'client.key')];
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
