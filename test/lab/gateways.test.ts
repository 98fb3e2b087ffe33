/** Examples 12, 13 and 15: Istio's Gateways on the nodes of a lab, called from outside the cluster as a user would. */
import { readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrape, total } from '../../src/lab/mesh-view.ts';
import { MeshCa } from '../proxy/tls/mesh-ca.ts';
import { echoService, labOf, shell } from './topology.ts';

const EXAMPLES = joinPath(import.meta.dirname, '../../lab/examples');

const TOPOLOGY = [
  labOf('gateways', ['gw1', 'gw2']),
  echoService('productpage', [{ version: 'v1', node: 'gw1' }, { version: 'v2', node: 'gw2' }]).replace('"port":8080', '"port":9080,"targetPort":8080'),
  shell('outsider', { app: 'outsider' }, undefined, { 'lab.orlop.io/external': 'true', 'orlop.io/mesh': 'disabled' }),
].join('');

const example = (name: string): string => readFileSync(joinPath(EXAMPLES, name), 'utf8');

let lab: Lab;
let ca: MeshCa;

beforeAll(async () => {
  ca = await MeshCa.create();
  lab = await Lab.up([], { sources: [{ file: 'gateways topology', text: TOPOLOGY }] });
  for (const name of ['12-gateway.yaml', '13-gateway-routes.yaml']) await lab.apply(example(name));
  await agentsUpToDate(lab);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

async function addressOf(node: string): Promise<string> {
  return (await lab.node(node)).address.ipv4;
}

async function curl(...options: readonly string[]): Promise<{ status: number; body: string; error: string }> {
  const { stdout, stderr } = await lab.exec('outsider', ['curl', '-sS', '-m', '10', '-w', '\n%{http_code}', ...options]);
  const lines = stdout.split('\n');
  return { status: Number(lines.pop()), body: lines.join('\n'), error: stderr };
}

describe('a Gateway of Istio\'s, on the nodes', () => {
  it('12, 13: takes the paths that a VirtualService gives it, at every node, and no others', async () => {
    for (const node of ['gw1', 'gw2']) {
      const url = `http://${await addressOf(node)}`;
      expect(await curl(`${url}/productpage`)).toMatchObject({ status: 200 });
      expect(await curl(`${url}/api/v1/products/7`)).toMatchObject({ status: 200 });
      expect(await curl(`${url}/other`)).toMatchObject({ status: 404 });
    }
  });

  it('says to both of its pods, on its node and on another, who it is, and what the client\'s address was', async () => {
    const url = `http://${await addressOf('gw1')}/productpage`;
    const seen = new Map<string, { headers: Record<string, string> }>();
    while (seen.size < 2) {
      const answer = JSON.parse((await curl(url)).body) as { version: string; headers: Record<string, string> };
      seen.set(answer.version, answer);
    }
    for (const { headers } of seen.values()) expect(headers).toMatchObject({ 'x-forwarded-proto': 'http', 'x-envoy-external-address': headers['x-forwarded-for'] });
    const series = [...(await scrape(lab, 'gw1')), ...(await scrape(lab, 'gw2'))];
    const principal = 'spiffe://cluster.local/ns/istio-system/sa/ingressgateway-orlop';
    expect(total(series, 'istio_requests_total', { reporter: 'source', source_workload: 'ingressgateway-orlop', source_workload_namespace: 'istio-system', destination_app: 'productpage', response_code: '200' })).toBeGreaterThan(1);
    for (const version of ['v1', 'v2']) expect(total(series, 'istio_requests_total', { reporter: 'destination', source_principal: principal, destination_version: version, connection_security_policy: 'mutual_tls' })).toBeGreaterThan(0);
  });

  it('15: ends TLS with the certificate of a Secret, and says why it cannot without one', async () => {
    const routes = { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'ext-host' }, spec: { hosts: ['ext-host.example.com'], gateways: ['ext-host-gwy'], http: [{ route: [{ destination: { host: 'productpage', port: { number: 9080 } } }] }] } };
    await lab.apply(example('15-gateway-tls.yaml'));
    await lab.apply(JSON.stringify(routes));
    await agentsUpToDate(lab);
    const ask = async (): Promise<{ status: number; body: string; error: string }> =>
      curl('-k', '--resolve', `ext-host.example.com:443:${await addressOf('gw1')}`, 'https://ext-host.example.com/');
    expect(await ask()).toMatchObject({ status: 0 });
    expect(await lab.logs('agent/gw1')).toMatch(/has no certificate: Secret default\/ext-host-cert.*turned away/);
    const { chain, key } = await ca.issue('', { names: [{ type: 'dns', value: 'ext-host.example.com' }] });
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata: { name: 'ext-host-cert' }, stringData: { 'tls.crt': chain, 'tls.key': key } }));
    await expect.poll(async () => (await ask()).status, { timeout: 20_000 }).toBe(200);
    const { headers } = JSON.parse((await ask()).body) as { headers: Record<string, string> };
    expect(headers).toMatchObject({ host: 'ext-host.example.com', 'x-forwarded-proto': 'https' });
    expect(await curl('-k', `https://${await addressOf('gw1')}/`)).toMatchObject({ status: 0 });
    const said = [await lab.logs('agent/gw1'), await lab.logs('agent/gw2')].join('');
    expect(said).not.toContain('PRIVATE KEY');
  });

  it('lets go of its port when the last Gateway of it is gone', async () => {
    await lab.delete(example('12-gateway.yaml'));
    await agentsUpToDate(lab);
    const url = `http://${await addressOf('gw1')}/productpage`;
    await expect.poll(async () => (await curl(url)).error, { timeout: 10_000 }).toMatch(/connect/);
    expect(await curl('-k', '--resolve', `ext-host.example.com:443:${await addressOf('gw1')}`, 'https://ext-host.example.com/')).toMatchObject({ status: 200 });
  });
});
