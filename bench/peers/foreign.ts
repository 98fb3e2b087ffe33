/**
 * The peers that listen on a port of the client's namespace: nginx, haproxy, Envoy and a bare Node proxy. Each with one
 * worker and connections kept alive on both sides; everything else is left at its default unless the note says so.
 */
import { homedir } from 'node:os';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { BULK_PORT, HTTP_PORT, type Backend } from '../backend.ts';
import type { Bench, Peer } from '../bench.ts';
import { logOf, waitUntilServing } from '../serving.ts';
import { BACKEND_ADDRESS, type Client } from '../topology.ts';
import { envoyConfig, haproxyConfig, nginxConfig, type Ports } from './configs.ts';

interface Recipe {
  readonly note: string;
  readonly ports: Ports;
  /** Writes the configuration into `dir` and returns the command that runs it. */
  command(dir: string, ports: Ports): string[];
}

const RECIPES: Readonly<Record<string, Recipe>> = {
  nginx: {
    note: '1 worker, worker_connections 16384 (allocated at start, hence its RSS), upstream keepalive 128, keepalive_requests unlimited, access_log off; stream module for bulk',
    ports: { http: 9001, bulk: 9101 },
    command: (dir, ports) => ['nginx', '-e', 'stderr', '-c', write(dir, 'nginx.conf', nginxConfig(ports, dir))],
  },
  haproxy: {
    note: 'nbthread 1, http-keep-alive, http-reuse always, no log; mode tcp for bulk',
    ports: { http: 9002, bulk: 9102 },
    command: (dir, ports) => ['haproxy', '-db', '-f', write(dir, 'haproxy.cfg', haproxyConfig(ports))],
  },
  envoy: {
    note: 'concurrency 1, HTTP connection manager with the router filter only, no access log; tcp_proxy for bulk; defaults else',
    ports: { http: 9003, bulk: 9103 },
    command: (dir, ports) => {
      return envoyCommand(write(dir, 'envoy.yaml', envoyConfig(ports)));
    },
  },
  bare: {
    note: 'bench/peers/bare.ts: the least a proxy on raw sockets of Node 26 can do; no routing, policy or metrics',
    ports: { http: 9004, bulk: 9104 },
    command: (_dir, ports) => [
      process.execPath,
      join(import.meta.dirname, 'bare.ts'),
      ...[BACKEND_ADDRESS, HTTP_PORT, BULK_PORT, ports.http, ports.bulk].map(String),
    ],
  },
};

/** The backend with no proxy before it: what the load generator and the network alone can do. */
export function direct(client: Client, backend: Backend): Peer {
  return {
    name: 'direct',
    note: 'no proxy',
    netns: client.netns,
    http: { host: BACKEND_ADDRESS, port: HTTP_PORT },
    bulk: { host: BACKEND_ADDRESS, port: BULK_PORT },
    pids: [],
    backend,
  };
}

/** Starts the foreign proxy `name` in the client's namespace and waits until it answers. Throws with its log when it does not. */
export async function startForeign(bench: Bench, client: Client, backend: Backend, name: string): Promise<Peer> {
  const recipe = RECIPES[name]!;
  const place = { netns: client.netns, core: bench.proxyCore };
  const pid = bench.processes.start(recipe.command(bench.dir, recipe.ports), place, logOf(bench, name));
  const peer: Peer = {
    name,
    note: recipe.note,
    netns: client.netns,
    http: { host: '127.0.0.1', port: recipe.ports.http },
    bulk: { host: '127.0.0.1', port: recipe.ports.bulk },
    pids: [pid],
    backend,
  };
  await waitUntilServing(bench, peer);
  return peer;
}

/** One worker, and no word unless something is wrong. */
export function envoyCommand(configFile: string): string[] {
  return [envoyBinary(), '-c', configFile, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];
}

/** Where scripts/envoy.sh puts it. */
export function envoyBinary(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'orlop/envoy-1.40.0/envoy');
}

function write(dir: string, name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}
