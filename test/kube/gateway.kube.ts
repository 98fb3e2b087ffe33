/** Gateways on a cluster of two nodes, called from outside of it: by a load balancer, by ports of nodes, with TLS whose Secret is replaced meanwhile. */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand, sleep } from '../../src/lab/command.ts';
import { MeshCa } from '../proxy/tls/mesh-ca.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import { deployOrlop, loadOrlop, SYSTEM_NAMESPACE } from './orlop.ts';

const CRDS = join(import.meta.dirname, '../../deploy/crds');
const GATEWAY_API = 'gateway.networking.k8s.io/v1';

const WORKLOADS = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {orlop.io/mesh: enabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cgi, namespace: shop}
data:
  who: |
    #!/bin/sh
    echo -e "Content-Type: text/plain\\r\\n\\r"
    hostname
    env
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ${BUSYBOX_IMAGE}
        command: [httpd, -f, -p, '8080', -h, /var/www]
        volumeMounts: [{name: cgi, mountPath: /var/www/cgi-bin}]
      volumes: [{name: cgi, configMap: {name: cgi, defaultMode: 0755}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: ${GATEWAY_API}
kind: GatewayClass
metadata: {name: orlop}
spec: {controllerName: orlop.io/gateway-controller}
---
apiVersion: ${GATEWAY_API}
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: orlop
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, hostname: shop.example, tls: {certificateRefs: [{name: shop-cert}]}}
  - {name: none, protocol: HTTPS, port: 443, hostname: none.example, tls: {certificateRefs: [{name: missing}]}}
---
apiVersion: ${GATEWAY_API}
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}, {name: door}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`;

interface Conditions {
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
}

interface GatewayStatus extends Conditions {
  readonly addresses?: readonly { readonly value: string }[];
  readonly listeners?: readonly (Conditions & { readonly name: string })[];
}

describe('gateways', () => {
  let cluster: Cluster;
  let ca: MeshCa;
  let directory: string;
  let address: string;

  beforeAll(async () => {
    ca = await MeshCa.create();
    directory = mkdtempSync(join(tmpdir(), 'orlop-gateway-'));
    writeFileSync(join(directory, 'roots.pem'), ca.roots);
    cluster = await Cluster.up({ name: 'gateway', nodes: 2 });
    await loadOrlop(cluster);
    for (const file of readdirSync(CRDS).filter((name) => name.endsWith('.io.yaml'))) await cluster.apply(readFileSync(join(CRDS, file), 'utf8'));
    await deployOrlop(cluster);
    await cluster.apply(WORKLOADS);
    await cluster.apply([await secret('shop-cert', 'shop.example')]);
    await cluster.kubectl(['-n', 'shop', 'rollout', 'status', 'ds/web', '--timeout=60s']);
    address = await cluster.until('the address of the gateway', async () => (await status('edge')).addresses?.[0]?.value);
  }, 600_000);

  afterAll(async () => {
    await cluster?.down();
    rmSync(directory, { recursive: true });
  }, 60_000);

  async function secret(name: string, ...hosts: readonly string[]): Promise<object> {
    const { chain, key } = await ca.issue('', { names: hosts.map((value) => ({ type: 'dns', value })) });
    return { apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata: { name, namespace: 'shop' }, stringData: { 'tls.crt': chain, 'tls.key': key } };
  }

  async function status(name: string): Promise<GatewayStatus> {
    return (JSON.parse(await cluster.kubectl(['-n', 'shop', 'get', 'gateway', name, '-o', 'json'])) as { status?: GatewayStatus }).status ?? {};
  }

  async function curl(...options: readonly string[]): Promise<string> {
    return (await runCommand('curl', ['-s', '-m', '5', '--cacert', join(directory, 'roots.pem'), ...options])).stdout;
  }

  const https = (path: string, ...options: readonly string[]): Promise<string> => curl('--resolve', `shop.example:443:${address}`, ...options, `https://shop.example${path}`);

  it('are reached by a load balancer, and reach pods of both nodes over mutual TLS alone', async () => {
    const who = async (): Promise<string> => curl(`http://${address}/cgi-bin/who`);
    await cluster.until('an answer through the gateway', async () => (await who()).startsWith('web-'));
    const pods = (await cluster.kubectl(['-n', 'shop', 'get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].metadata.name}'])).split(' ');
    const answered = new Set<string>();
    while (answered.size < pods.length) answered.add((await who()).split('\n')[0] ?? '');
    expect([...answered].sort()).toEqual(pods.sort());
    // The machine's own address on the cluster's network: the load balancer has kept it.
    expect(await who()).toMatch(/^HTTP_X_FORWARDED_FOR=198\.18\.\d+\.1$/m);
  });

  it('say in their status what they are reached by, and which listener has no certificate', async () => {
    const resolvedIn = ({ listeners = [] }: Awaited<ReturnType<typeof status>>): Record<string, string | undefined> =>
      Object.fromEntries(listeners.map((listener) => [listener.name, listener.conditions?.find(({ type }) => type === 'ResolvedRefs')?.reason]));
    // Secrets are read some moments after the Gateway.
    const found = await cluster.until('the status of the listeners', async () => {
      const present = await status('edge');
      return resolvedIn(present)['https'] === 'ResolvedRefs' && present;
    });
    expect(found.conditions?.find(({ type }) => type === 'Accepted')?.status).toBe('True');
    expect(resolvedIn(found)).toEqual({ http: 'ResolvedRefs', https: 'ResolvedRefs', none: 'InvalidCertificateRef' });
  });

  it('show a Secret\'s certificate, and another one when that is replaced, without a request failing', async () => {
    await cluster.until('an answer by TLS', async () => (await https('/cgi-bin/who')).startsWith('web-'));
    expect(await https('/cgi-bin/who')).toMatch(/^HTTP_X_FORWARDED_PROTO=https$/m);
    const serial = async (): Promise<string> => {
      const socket = connect({ host: address, port: 443, servername: 'shop.example', ca: ca.roots });
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const before = await serial();
    let failed = 0;
    let asked = 0;
    const over = new AbortController();
    const load = Promise.all(Array.from({ length: 2 }, async () => {
      while (!over.signal.aborted) {
        asked += 1;
        if (!(await https('/cgi-bin/who')).startsWith('web-')) failed += 1;
        await sleep(20);
      }
    }));
    await cluster.apply([await secret('shop-cert', 'shop.example')]);
    await cluster.until('the new certificate', async () => (await serial()) !== before);
    over.abort();
    await load;
    expect(asked).toBeGreaterThan(0);
    expect(failed).toBe(0);
  });

  it('listen on ports of the nodes that they choose', async () => {
    const [first, second] = cluster.nodes;
    await cluster.kubectl(['label', 'node', first?.name ?? '', 'node-restriction.kubernetes.io/edge=yes']);
    await cluster.apply([{
      apiVersion: GATEWAY_API, kind: 'Gateway', metadata: { name: 'door', namespace: 'shop', annotations: { 'orlop.io/gateway-mode': 'hostPort', 'orlop.io/gateway-nodes': 'node-restriction.kubernetes.io/edge=yes' } },
      spec: { gatewayClassName: 'orlop', listeners: [{ name: 'http', protocol: 'HTTP', port: 8888 }] },
    }]);
    await cluster.until('an answer on the node\'s port', async () => (await curl(`http://${first?.names.address ?? ''}:8888/cgi-bin/who`)).startsWith('web-'));
    expect((await runCommand('curl', ['-s', '-m', '5', `http://${second?.names.address ?? ''}:8888/`])).code).toBe(7);
    await cluster.until('its address', async () => (await status('door')).addresses?.some(({ value }) => value === first?.names.address));
    await cluster.kubectl(['-n', 'shop', 'delete', 'gateway', 'door']);
    await cluster.until('the port closed', async () => (await runCommand('curl', ['-s', '-m', '5', `http://${first?.names.address ?? ''}:8888/`])).code === 7);
  });

  it('keep Secrets from nodes: an agent\'s account may read none, and no key is in its files or its log', async () => {
    for (const verb of ['get', 'list', 'watch']) {
      const { stdout } = await cluster.tryKubectl(['auth', 'can-i', verb, 'secrets', '-n', 'shop', `--as=system:serviceaccount:${SYSTEM_NAMESPACE}:orlop-agent`]);
      expect(stdout.trim()).toBe('no');
    }
    const logs = await cluster.kubectl(['-n', SYSTEM_NAMESPACE, 'logs', '-l', 'app.kubernetes.io/part-of=orlop', '--prefix', '--tail=-1']);
    expect(logs).not.toContain('PRIVATE KEY');
    const [command = '', ...args] = cluster.nodes[0]?.argv(['grep', '-rlE', 'PRIVATE KEY', '/run/orlop']) ?? [];
    expect((await runCommand(command, args)).stdout).toBe('');
  });

  it('go with their Service', async () => {
    await cluster.kubectl(['-n', 'shop', 'delete', 'gateway', 'edge']);
    await cluster.until('the Service gone', async () => (await cluster.tryKubectl(['-n', 'shop', 'get', 'service', 'edge-orlop'])).code !== 0);
    await cluster.until('nothing listening any more', async () => (await runCommand('curl', ['-s', '-m', '2', `http://${address}/`])).code !== 0);
  });
});
