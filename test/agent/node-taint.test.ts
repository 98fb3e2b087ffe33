/** Nodes that take no pods before their agent is ready. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NodeTaint } from '../../src/agent/node-taint.ts';
import { createLogger } from '../../src/core/log.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const TAINT = 'orlop.io/agent-not-ready';
const OTHER = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };

let server: ApiServer;
let taint: NodeTaint | undefined;
let ready: boolean;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  ready = true;
});

afterEach(async () => {
  taint?.close();
  await server.stop();
});

function putNode(...taints: object[]): void {
  server.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', labels: { zone: 'a' } }, spec: { podCIDR: '10.0.0.0/24', taints } });
}

function follow(): void {
  taint = new NodeTaint({ client: server.client(), node: 'node-1', taint: TAINT, log: createLogger('test', 'silent'), isReady: () => ready });
}

const spec = (): unknown => server.get('Node', 'node-1')?.['spec'];

it('lose their taint when it is, and no other', async () => {
  ready = false;
  putNode({ key: TAINT, effect: 'NoSchedule' }, OTHER);
  follow();
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(server.requests).toEqual([]);
  ready = true;
  await expect.poll(spec).toEqual({ podCIDR: '10.0.0.0/24', taints: [OTHER] });
  expect(server.get('Node', 'node-1')?.metadata['labels']).toEqual({ zone: 'a' });
});

it('have no list of taints when that was the only one', async () => {
  putNode({ key: TAINT, effect: 'NoSchedule' });
  follow();
  await expect.poll(spec).toEqual({ podCIDR: '10.0.0.0/24' });
});

it('keep a taint that somebody puts there at the same moment', async () => {
  putNode({ key: TAINT, effect: 'NoSchedule' });
  server.intercept = ({ method }) => {
    if (method !== 'PATCH') return undefined;
    server.intercept = undefined;
    putNode({ key: TAINT, effect: 'NoSchedule' }, OTHER);
    return undefined;
  };
  follow();
  await expect.poll(spec).toEqual({ podCIDR: '10.0.0.0/24', taints: [OTHER] });
});

it('are written to only when there is something to take away', async () => {
  putNode(OTHER);
  follow();
  await expect.poll(() => server.requests).toEqual(['GET /api/v1/nodes/node-1']);
});

it('are tried again when the API server refuses', async () => {
  putNode({ key: TAINT, effect: 'NoSchedule' });
  server.failing = 403;
  follow();
  await expect.poll(() => server.requests.length).toBeGreaterThan(0);
  server.failing = undefined;
  await expect.poll(spec, { timeout: 10_000 }).toEqual({ podCIDR: '10.0.0.0/24' });
});
