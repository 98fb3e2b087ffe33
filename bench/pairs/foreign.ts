/** Pairs of foreign proxies: one at the client, one at the application, mutual TLS between them. Each end has one worker. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Bench, Peer } from '../bench.ts';
import type { Ports } from '../peers/configs.ts';
import { envoyCommand } from '../peers/foreign.ts';
import type { PairName } from '../plan.ts';
import { logOf, waitUntilServing } from '../serving.ts';
import { envoyHboneConfig, envoyMtlsConfig } from './envoy.ts';
import { haproxyPairConfig } from './haproxy.ts';
import type { End, Link } from './link.ts';
import { nginxPairConfig } from './nginx.ts';
import type { Site } from './site.ts';
import { startTunnelOpener } from './tunnel-opener.ts';

interface Recipe {
  readonly note: string;
  readonly near: Ports;
  readonly far: Ports;
  readonly fileType: string;
  config(end: End, link: Link): string;
  command(configFile: string): string[];
  /** The far end takes tunnels. */
  readonly takesTunnels?: boolean;
}

const RECIPES: Readonly<Record<Exclude<PairName, 'orlop-mtls'>, Recipe>> = {
  'nginx-mtls': {
    note: 'at both ends 1 worker, access_log off; HTTP/1.1 over kept mutual TLS 1.3 connections between them; the stream module with TLS for bulk',
    near: { http: 9001, bulk: 9101 },
    far: { http: 9201, bulk: 9301 },
    fileType: 'conf',
    config: nginxPairConfig,
    command: (config) => ['nginx', '-e', 'stderr', '-c', config],
  },
  'haproxy-mtls': {
    note: 'at both ends nbthread 1, no log; HTTP/1.1 over kept mutual TLS 1.3 connections between them; mode tcp with TLS for bulk',
    near: { http: 9002, bulk: 9102 },
    far: { http: 9202, bulk: 9302 },
    fileType: 'cfg',
    config: haproxyPairConfig,
    command: (config) => ['haproxy', '-db', '-f', config],
  },
  'envoy-mtls': {
    note: 'at both ends concurrency 1 and an HTTP connection manager, no access log; HTTP/1.1 over kept mutual TLS 1.3 connections between them; tcp_proxy with TLS for bulk',
    near: { http: 9003, bulk: 9103 },
    far: { http: 9203, bulk: 9303 },
    fileType: 'json',
    config: envoyMtlsConfig,
    command: envoyCommand,
  },
  'envoy-hbone': {
    note: 'at both ends concurrency 1; requests are not read: tcp_proxy with tunneling_config, HTTP/2 CONNECT over mutual TLS 1.3, terminated at the far end; no session tickets',
    near: { http: 9004, bulk: 9104 },
    far: { http: 15008, bulk: 15008 },
    fileType: 'json',
    config: envoyHboneConfig,
    command: envoyCommand,
    takesTunnels: true,
  },
};

/** Starts both ends of the pair `name` and waits until a request comes through them. Throws with a log when it does not. */
export async function startForeignPair(bench: Bench, site: Site, name: Exclude<PairName, 'orlop-mtls'>): Promise<Peer> {
  const { client, backend, certificates } = site;
  const recipe = RECIPES[name];
  const link: Link = { near: recipe.near, far: recipe.far, application: backend.address, certificates, dir: bench.dir };
  const start = (end: End, netns: string, logFile: string): number => {
    const path = join(bench.dir, `${name}-${end}.${recipe.fileType}`);
    writeFileSync(path, recipe.config(end, link));
    return bench.processes.start(recipe.command(path), { netns, core: bench.proxyCore }, logFile);
  };
  const farPid = start('far', backend.netns, logOf(bench, `${name}-far`));
  const nearPid = start('near', client.netns, logOf(bench, name));
  const tunnelEnd = recipe.takesTunnels === true ? await startTunnelOpener(bench, site, { name, pid: farPid, port: recipe.far.http }) : undefined;
  const peer: Peer = {
    name,
    note: recipe.note,
    netns: client.netns,
    http: { host: '127.0.0.1', port: recipe.near.http },
    bulk: { host: '127.0.0.1', port: recipe.near.bulk },
    pids: [nearPid, farPid],
    backend,
    ...(tunnelEnd !== undefined && { tunnelEnd }),
  };
  await waitUntilServing(bench, peer);
  return peer;
}
