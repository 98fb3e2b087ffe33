/**
 * Tunnels with ends that nobody of ours wrote: openssl, Node's HTTP/2 and a real Envoy. The mesh's CA is given as files, so that
 * the test can sign what foreign peers show, right and wrong.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrapeAll, total } from '../../src/lab/mesh-view.ts';
import { returnPathLeft } from '../../src/redirect/return-path.ts';
import { Netns } from '../../src/sys/netns.ts';
import { connectSocket } from '../../src/sys/socket.ts';
import { MeshCa } from '../proxy/tls/mesh-ca.ts';
import { requireEnvoy, runEnvoy, tunnelClient, tunnelServer } from './envoy-hbone.ts';
import { agentsReady, applied, echo, identityOf, mesh, NAMESPACE, pod, service, STRICT } from './mesh.ts';
import { join } from './topology.ts';
import { askThrough, connectThrough, openTunnel } from './tunnel-client.ts';
import type { Answer, Tunnel } from './tunnel-client.ts';

const FOREIGNER = 'spiffe://cluster.local/ns/abroad/sa/foreigner';
const HOUR_MS = 3_600_000;
/** The agent says no more than one line a second about what it refuses. */
const LINE_INTERVAL_MS = 1_100;
const MEBIBYTE = 1 << 20;
const RESETTER = 'require("net").createServer((socket) => socket.on("error", () => 0).once("data", () => { socket.write("so far"); setTimeout(() => socket.resetAndDestroy(), 50); })).listen(9001, "::")';

let directory: string;
let ca: MeshCa;
let own: WorkloadCertificate;
let lab: Lab;
let server: { readonly ipv4: string; readonly ipv6: string };
const envoys: ChildProcess[] = [];

beforeAll(async () => {
  requireEnvoy();
  directory = mkdtempSync(joinPath(tmpdir(), 'orlop-foreign-'));
  ca = await MeshCa.create();
  own = await ca.issue(FOREIGNER);
  const file = (name: string, text: string): string => {
    writeFileSync(joinPath(directory, name), text, { mode: 0o600 });
    return joinPath(directory, name);
  };
  const args = ['--ca-cert', file('tls.crt', ca.intermediate), '--ca-key', file('tls.key', ca.intermediateKey), '--ca-root', file('ca.crt', ca.roots)];
  const topology = [
    mesh('hbone', { control: { certificateLifetime: '30m', args }, agent: { args: ['--access-log', 'json'] } }),
    echo('server', { node: 'node2' }),
    // Not probed: connections that are kept for probes would hold the way back open by themselves.
    echo('leaver', { node: 'node2', probe: false }),
    pod('opaque', { node: 'node2', command: ['node', 'lab/apps/tcp-echo.ts'], ports: [{ name: 'tcp', port: 9000 }] }) + service('opaque', [{ name: 'tcp', port: 9000 }]),
    pod('resetter', { node: 'node2', command: ['node', '-e', RESETTER], ports: [{ name: 'tcp', port: 9001 }] }) + service('resetter', [{ name: 'tcp', port: 9001 }]),
    pod('client', { node: 'node1' }),
    pod('foreigner', { node: 'node1', namespace: 'outside' }),
    // Routed, but none of the lab's nodes has it and no agent of ours: the mesh is told that it is a pod on a node of another implementation.
    echo('abroad', { namespace: 'outside', annotations: { 'lab.orlop.io/external': 'true' }, probe: false }),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'foreign topology', text: topology }] });
  await applied(lab, STRICT);
  server = (await lab.pod('server')).address;
}, 120_000);

afterEach(() => {
  for (const envoy of envoys.splice(0)) envoy.kill('SIGKILL');
});

afterAll(async () => {
  await lab?.down();
  rmSync(directory, { recursive: true });
});

/** A TCP connection from the foreigner's namespace. */
async function dial(address: string): Promise<Socket> {
  using netns = Netns.open((await lab.pod('foreigner')).place.netnsPath);
  const fd = netns.run(() => connectSocket({ family: address.includes(':') ? 6 : 4 }));
  return new Socket({ fd }).connect({ host: address, port: 15_008 });
}

async function tunnelTo(address: string, certificate: WorkloadCertificate | undefined, options: ConnectionOptions = {}): Promise<Tunnel> {
  const identity = certificate === undefined ? {} : { cert: certificate.chain, key: certificate.key };
  return openTunnel(address, { socket: await dial(address), ca: ca.roots, ...identity, ...options });
}

async function get(tunnel: Tunnel, path = '/'): Promise<{ head: string; body: string }> {
  const answer = await askThrough(tunnel, `${tunnel.tls.remoteAddress === undefined ? '' : host(tunnel.tls.remoteAddress)}:8080`, `GET ${path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n`);
  const end = answer.indexOf('\r\n\r\n');
  return { head: answer.slice(0, end), body: answer.slice(end + 4) };
}

function host(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

async function logOf(node: string): Promise<string> {
  return readFileSync((await lab.agent(node).status()).logPath, 'utf8');
}

async function linesSince(length: number, node = 'node2'): Promise<Record<string, unknown>[]> {
  return (await logOf(node)).slice(length).split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
}

const WRONG: [string, () => Promise<WorkloadCertificate | undefined>, ConnectionOptions & { openssl?: string[] }, RegExp][] = [
  ['no certificate', () => Promise.resolve(undefined), {}, /^it sent no certificate$/],
  ['an expired certificate', () => ca.issue(FOREIGNER, { nowMs: Date.now() - 2 * HOUR_MS }), {}, /CERT_HAS_EXPIRED/],
  ['a certificate of another CA', async () => (await MeshCa.create()).issue(FOREIGNER), {}, /UNABLE_TO_|SELF_SIGNED/],
  ['an identity of another trust domain', () => ca.issue('spiffe://elsewhere/ns/abroad/sa/foreigner'), {}, /of another trust domain than cluster\.local/],
  ['a name that is no workload\'s', () => ca.issue('spiffe://cluster.local/abroad'), {}, /is not spiffe:\/\/TRUST-DOMAIN\/ns\/NAMESPACE\/sa\/ACCOUNT/],
  ['a DNS name only', () => ca.issue(FOREIGNER, { names: [{ type: 'dns', value: 'foreigner.abroad' }] }), {}, /names no SPIFFE id/],
  ['TLS 1.2', () => ca.issue(FOREIGNER), { maxVersion: 'TLSv1.2', openssl: ['-tls1_2'] }, /does not speak TLS 1\.3/],
  ['no ALPN', () => ca.issue(FOREIGNER), { ALPNProtocols: [], openssl: [] }, /does not speak HTTP\/2/],
];

describe('a foreign HTTP/2 client', () => {
  it.each(['ipv4', 'ipv6'] as const)('with the right identity gets through to the application (%s)', async (family) => {
    const tunnel = await tunnelTo(server[family], own);
    expect(tunnel.tls.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${identityOf('server')}`);
    expect(tunnel.session.remoteSettings).toMatchObject({ initialWindowSize: 4 << 20, maxFrameSize: 1 << 20, maxConcurrentStreams: 200 });
    const { head, body } = await get(tunnel);
    expect(head).toMatch(/^HTTP\/1\.1 200/);
    expect(JSON.parse(dechunked(head, body))).toMatchObject({ app: 'server', client: { address: (await lab.pod('foreigner')).address[family] } });
    tunnel.session.close();
    expect(total(await scrapeAll(lab), 'istio_requests_total', { reporter: 'destination', destination_workload: 'server', source_principal: FOREIGNER, connection_security_policy: 'mutual_tls' })).toBeGreaterThan(0);
  });

  it('learns in the answer whom it talks to', async () => {
    const tunnel = await tunnelTo(server.ipv4, own);
    const { status, headers, stream } = await connectThrough(tunnel, `${server.ipv4}:8080`);
    expect(status).toBe(200);
    expect(headers['content-length']).toBeUndefined();
    expect(String(headers['baggage'])).toContain(`k8s.namespace.name=${NAMESPACE}`);
    stream.close();
    tunnel.session.close();
  });

  it('carries a mebibyte each way, with each end\'s half closed on its own', async () => {
    const { address: { ipv4 } } = await lab.pod('opaque');
    const tunnel = await tunnelTo(ipv4, own);
    const { stream } = await connectThrough(tunnel, `${ipv4}:9000`);
    const sent = randomBytes(MEBIBYTE);
    const received: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => received.push(chunk));
    stream.write(sent);
    await expect.poll(() => Buffer.concat(received).length, { timeout: 10_000 }).toBe(MEBIBYTE);
    // What comes after both directions have been at work: the echo ends its own half only when it has seen the end of ours.
    stream.end('the end');
    await new Promise((resolve) => {
      stream.once('end', resolve);
    });
    expect(Buffer.concat(received).equals(Buffer.concat([sent, Buffer.from('the end')]))).toBe(true);
    tunnel.session.close();
  });

  it('is told of a reset of the application\'s as a reset, after what came before it', async () => {
    const { address: { ipv4 } } = await lab.pod('resetter');
    const tunnel = await tunnelTo(ipv4, own);
    const { stream } = await connectThrough(tunnel, `${ipv4}:9001`);
    let received = '';
    stream.on('data', (chunk: Buffer) => {
      received += chunk.toString();
    });
    stream.on('error', () => undefined);
    stream.write('go');
    await new Promise((resolve) => {
      stream.once('close', resolve);
    });
    expect(received).toBe('so far');
    // CONNECT_ERROR (RFC 9113 §8.5).
    expect(stream.rstCode).toBe(10);
    tunnel.session.close();
  });

  it.each(WRONG)('with %s is cut off, and one line says who and why', async (_what, certificate, { openssl: _ignored, ...options }, reason) => {
    await sleep(LINE_INTERVAL_MS);
    const before = (await logOf('node2')).length;
    await expect(tunnelTo(server.ipv4, await certificate(), options)).rejects.toThrow();
    const { address } = await lab.pod('foreigner');
    await expect.poll(async () => (await linesSince(before)).filter(({ level }) => level === 40)).toEqual([
      expect.objectContaining({ msg: 'a tunnel was refused', workload: `${NAMESPACE}/server`, client: address.ipv4, reason: expect.stringMatching(reason) as unknown }),
    ]);
  });

  it.each<[string, string, number, string | null]>([
    ['of a name', 'server.shop:8080', 400, 'DPE'],
    ['of another pod', '10.255.0.1:8080', 400, 'DPE'],
    ['of loopback', '127.0.0.1:8080', 400, 'DPE'],
    ['with a port that is none', 'SELF:99999', 400, 'DPE'],
    ['of the agent\'s outbound port', 'SELF:15001', 503, null],
    ['of the agent\'s inbound port', 'SELF:15006', 503, null],
    ['of the agent\'s tunnel port', 'SELF:15008', 503, null],
  ])('asking for an :authority %s (%s) gets %i, and a line in the access log', async (_what, authority, status, flag) => {
    const tunnel = await tunnelTo(server.ipv4, own);
    const before = (await logOf('node2')).length;
    const asked = authority.replace('SELF', server.ipv4);
    const answer = await connectThrough(tunnel, asked);
    expect(answer.status).toBe(status);
    expect(await contentOf(answer)).toMatch(status === 400 ? /The tunnel was asked for something else/ : /a port that belongs to the agent/);
    await expect.poll(async () => (await linesSince(before)).filter(({ authority: logged }) => logged === asked)).toEqual([
      expect.objectContaining({ method: 'CONNECT', response_code: status, response_flags: flag, response_code_details: status === 400 ? 'hbone.bad_request' : 'hbone.port_refused' }),
    ]);
    // The tunnel itself is none the worse.
    expect((await get(tunnel)).head).toMatch(/^HTTP\/1\.1 200/);
    tunnel.session.close();
  });

  it('asking for an :authority without a port has its stream reset: such a request is malformed (RFC 9113 §8.5)', async () => {
    const tunnel = await tunnelTo(server.ipv4, own);
    await expect(connectThrough(tunnel, server.ipv4)).rejects.toThrow('NGHTTP2_PROTOCOL_ERROR');
    expect((await get(tunnel)).head).toMatch(/^HTTP\/1\.1 200/);
    tunnel.session.close();
  });

  it('that sends another request than CONNECT gets 400', async () => {
    const tunnel = await tunnelTo(server.ipv4, own);
    const stream = tunnel.session.request({ ':method': 'GET', ':path': '/', ':authority': `${server.ipv4}:8080` });
    const status = await new Promise((resolve) => {
      stream.once('response', (headers) => resolve(headers[':status']));
    });
    expect(status).toBe(400);
    stream.close();
    tunnel.session.close();
  });
});

describe('openssl', () => {
  async function sClient(certificate: WorkloadCertificate | undefined, options: readonly string[]): Promise<string> {
    const files = certificate === undefined ? [] : (['chain', 'key'] as const).flatMap((part) => {
      const path = joinPath(directory, `openssl.${part}`);
      writeFileSync(path, certificate[part], { mode: 0o600 });
      return part === 'chain' ? ['-cert', path, '-cert_chain', path] : ['-key', path];
    });
    const argv = ['timeout', '3', 'openssl', 's_client', '-connect', `${server.ipv4}:15008`, '-noservername', '-CAfile', joinPath(directory, 'ca.crt'), '-quiet', '-verify_return_error', ...files, ...options];
    const { stdout, stderr } = await lab.exec('foreigner', argv.filter((arg) => arg !== '-quiet'), { input: '' });
    return stdout + stderr;
  }

  it('verifies the pod\'s chain, and is let in by its own', async () => {
    const said = await sClient(own, ['-alpn', 'h2', '-ign_eof']);
    expect(said).toContain('Verify return code: 0 (ok)');
    expect(said).toContain('ALPN protocol: h2');
    expect(said).toMatch(/New, TLSv1\.3, Cipher is TLS_AES_/);
    expect(said).not.toMatch(/alert/);
  });

  it.each(WRONG)('with %s is cut off, and one line says why', async (_what, certificate, { openssl = ['-alpn', 'h2'] }, reason) => {
    await sleep(LINE_INTERVAL_MS);
    const before = (await logOf('node2')).length;
    await sClient(await certificate(), [...openssl.includes('-tls1_2') ? ['-alpn', 'h2', ...openssl] : openssl, '-ign_eof']);
    await expect.poll(async () => (await linesSince(before)).filter(({ level }) => level === 40)).toEqual([
      expect.objectContaining({ msg: 'a tunnel was refused', reason: expect.stringMatching(reason) as unknown }),
    ]);
  });
});

describe('Envoy', () => {
  it('as the client of a tunnel: requests, a mebibyte each way, and half-closed connections', async () => {
    const opaque = (await lab.pod('opaque')).address.ipv4;
    envoys.push(await runEnvoy(lab, 'foreigner', directory, tunnelClient(18_080, `${server.ipv4}:8080`, { address: server.ipv4, certificate: own, identity: identityOf('server') })));
    const { stdout } = await lab.exec('foreigner', ['curl', '-sS', '-m', '10', 'http://127.0.0.1:18080/', 'http://127.0.0.1:18080/again']);
    expect(stdout.trim().split('\n').map((line) => (JSON.parse(line) as { app: string }).app)).toEqual(['server', 'server']);
    const big = await lab.exec('foreigner', ['sh', '-c', 'head -c 1048576 /dev/zero | tr "\\0" x | curl -sS -m 20 --data-binary @- http://127.0.0.1:18080/']);
    expect((JSON.parse(big.stdout) as { body: string }).body).toHaveLength(MEBIBYTE);
    for (const envoy of envoys.splice(0)) envoy.kill('SIGKILL');
    envoys.push(await runEnvoy(lab, 'foreigner', directory, tunnelClient(18_081, `${opaque}:9000`, { address: opaque, certificate: own, identity: identityOf('opaque') })));
    const halves = await lab.exec('foreigner', ['bash', '-c', 'head -c 1048576 /dev/urandom > "$TMPDIR/sent"; timeout 20 openssl version >/dev/null; node -e \'const s=require("net").connect({port:18081,host:"127.0.0.1",allowHalfOpen:true});const fs=require("fs");fs.createReadStream(process.env.TMPDIR+"/sent").pipe(s);s.pipe(fs.createWriteStream(process.env.TMPDIR+"/received"))\' && cmp "$TMPDIR/sent" "$TMPDIR/received" && echo same']);
    expect(halves.stdout.trim(), halves.stderr).toBe('same');
  });

  it('as a client that expects somebody else ends the tunnel itself', async () => {
    envoys.push(await runEnvoy(lab, 'foreigner', directory, tunnelClient(18_080, `${server.ipv4}:8080`, { address: server.ipv4, certificate: own, identity: identityOf('opaque') })));
    expect((await lab.exec('foreigner', ['curl', '-sS', '-m', '10', 'http://127.0.0.1:18080/'])).code).toBeOneOf([52, 56]);
  });

  describe('as the server of a tunnel', () => {
    const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/abroad';

    beforeAll(async () => {
      const { address: { ipv4 } } = await lab.pod('abroad');
      const metadata = { name: 'abroad', namespace: NAMESPACE, labels: { app: 'abroad' }, uid: 'abroad-1' };
      const status = { phase: 'Running', podIP: ipv4, podIPs: [{ ip: ipv4 }], conditions: [{ type: 'Ready', status: 'True' }] };
      const spec = { serviceAccountName: 'abroad', nodeName: 'node-abroad', containers: [{ name: 'main', ports: [{ name: 'http', containerPort: 8080 }] }] };
      // The lab has no such pod, so what an API server would say of it is put beside what the lab says.
      writeFileSync(joinPath(lab.paths.config, `pod.${NAMESPACE}.abroad.yaml`), JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec, status }));
      const target = { kind: 'Pod', namespace: NAMESPACE, name: 'abroad', uid: 'abroad-1' };
      await lab.apply(join([
        { apiVersion: 'v1', kind: 'Service', metadata: { name: 'abroad', namespace: NAMESPACE }, spec: { ports: [{ name: 'http', port: 8080 }] } },
        {
          apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: 'abroad-1', namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': 'abroad' } }, addressType: 'IPv4',
          endpoints: [{ addresses: [ipv4], conditions: { ready: true }, nodeName: 'node-abroad', targetRef: target }], ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        },
      ]));
      await agentsUpToDate(lab);
    });

    it('takes our tunnels: requests, and a mebibyte each way', async () => {
      envoys.push(await runEnvoy(lab, 'abroad', directory, tunnelServer(8080, await ca.issue(IDENTITY), identityOf('client'))));
      const { stdout, stderr } = await lab.exec('client', ['curl', '-sS', '-m', '10', 'http://abroad:8080/']);
      expect(JSON.parse(stdout), stderr).toMatchObject({ app: 'abroad', client: { address: '127.0.0.1' } });
      const big = await lab.exec('client', ['sh', '-c', 'head -c 1048576 /dev/zero | tr "\\0" x | curl -sS -m 20 --data-binary @- http://abroad:8080/']);
      expect((JSON.parse(big.stdout) as { body: string }).body).toHaveLength(MEBIBYTE);
    });

    it('gets nothing when it is somebody else', async () => {
      envoys.push(await runEnvoy(lab, 'abroad', directory, tunnelServer(8080, await ca.issue(FOREIGNER), identityOf('client'))));
      const { stdout } = await lab.exec('client', ['curl', '-sS', '-m', '10', '-w', '\\n%{http_code}', 'http://abroad:8080/']);
      expect(stdout).toMatch(/flag UF[^]*the server is spiffe:\/\/cluster\.local\/ns\/abroad\/sa\/foreigner, not spiffe:\/\/cluster\.local\/ns\/shop\/sa\/abroad[^]*\n503$/);
    });

    it('refuses us when it expects somebody else, and the client is told', async () => {
      envoys.push(await runEnvoy(lab, 'abroad', directory, tunnelServer(8080, await ca.issue(IDENTITY), identityOf('server'))));
      const { stdout } = await lab.exec('client', ['curl', '-sS', '-m', '10', '-w', '\\n%{http_code}', 'http://abroad:8080/']);
      expect(stdout).toMatch(/\n503$/);
    });
  });
});

describe('the agent', () => {
  it('serves who has not learnt yet that a pod has left the mesh, and then asks them to go, and leaves no trace in the pod', async () => {
    const annotate = async (value: string): Promise<void> => {
      await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'leaver', namespace: NAMESPACE, annotations: { 'orlop.io/mesh': value } } }));
      await agentsUpToDate(lab);
    };
    const { address: { ipv4 }, place } = await lab.pod('leaver');
    using netns = Netns.open(place.netnsPath);
    const traces = (): string[] => netns.run(returnPathLeft);
    expect(traces()).not.toEqual([]);
    const tunnel = await tunnelTo(ipv4, own);
    const goaway = new Promise((resolve) => {
      tunnel.session.once('goaway', resolve);
    });
    await annotate('disabled');
    // The tunnel has stood idle: nothing in the pod's namespace but the tunnel itself says that somebody may come.
    for (const each of [tunnel, await tunnelTo(ipv4, own)]) {
      const { head, body } = await get(each);
      expect(head).toMatch(/^HTTP\/1\.1 200/);
      expect(JSON.parse(dechunked(head, body))).toMatchObject({ client: { address: (await lab.pod('foreigner')).address.ipv4 } });
    }
    expect(await goaway).toBe(0);
    await expect.poll(traces, { timeout: 20_000 }).toEqual([]);
    await annotate('enabled');
    expect((await get(await tunnelTo(ipv4, own))).head).toMatch(/^HTTP\/1\.1 200/);
  });

  it('asks its clients of tunnels to go elsewhere when it ends, and finishes what they have begun', async () => {
    const tunnel = await tunnelTo(server.ipv4, own);
    const goaway = new Promise((resolve) => {
      tunnel.session.once('goaway', resolve);
    });
    const slow = get(tunnel, '/?delay=2000');
    await sleep(300);
    const restarting = lab.agent('node2').act('restart');
    expect(await goaway).toBe(0);
    expect((await slow).head).toMatch(/^HTTP\/1\.1 200/);
    await restarting;
    await agentsReady(lab);
  });
});

/** The whole content of an answer that is no tunnel. */
async function contentOf({ stream }: Answer): Promise<string> {
  let content = '';
  for await (const chunk of stream) content += String(chunk);
  return content;
}

function dechunked(head: string, body: string): string {
  if (!/transfer-encoding: chunked/i.test(head)) return body;
  let [text, rest] = ['', body];
  for (;;) {
    const [size = ''] = rest.split('\r\n', 1);
    const length = Number.parseInt(size, 16);
    if (!(length > 0)) return text;
    text += rest.slice(size.length + 2, size.length + 2 + length);
    rest = rest.slice(size.length + 2 + length + 2);
  }
}
