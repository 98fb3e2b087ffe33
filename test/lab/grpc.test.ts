/** gRPC through the mesh, between two nodes that demand mutual TLS: grpc-js at both ends, every kind of call, and HTTP/2 and WebSocket beside it. */
import { join as joinPath } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CallReport } from '../../lab/apps/grpc-client.ts';
import { Lab } from '../../src/lab/lab.ts';
import { scrapeAll, total } from '../../src/lab/mesh-view.ts';
import type { Series } from '../../src/lab/mesh-view.ts';
import type { PodStatus } from '../../src/lab/status.ts';
import { applied, STRICT } from './mesh.ts';

const [CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE] = [1, 3, 4, 5, 14];
const FOUR_MEBIBYTES = 4 << 20;

let lab: Lab;
let servers: PodStatus[];

beforeAll(async () => {
  lab = await Lab.up([joinPath(import.meta.dirname, '../../lab/grpc.yaml')], { name: 'grpctest' });
  await applied(lab, STRICT);
  servers = (await lab.pods()).filter(({ labels }) => labels['app'] === 'grpc-echo');
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

async function call(method: string, ...flags: readonly string[]): Promise<CallReport[]> {
  const { stdout, stderr, code } = await lab.exec('client', ['node', 'lab/apps/grpc-client.ts', 'grpc-echo:9090', method, ...flags]);
  expect(code, stderr).toBe(0);
  return stdout.trim().split('\n').map((line) => JSON.parse(line) as CallReport);
}

async function serverLogs(): Promise<string> {
  return (await Promise.all(servers.map(async ({ namespace, name }) => lab.logs(`${namespace}/${name}`)))).join('');
}

function grown(before: readonly Series[], after: readonly Series[], labels: Record<string, string>): number {
  return total(after, 'istio_requests_total', labels) - total(before, 'istio_requests_total', labels);
}

describe('calls', () => {
  it('of one question and one answer', async () => {
    expect(await call('Say')).toEqual([{ code: 0, details: '', texts: ['hello'], pods: [expect.stringMatching(/^grpc-echo-v/)], received: 0, bytes: 0 }]);
  });

  it('whose server streams', async () => {
    expect(await call('List', '--size', '50')).toMatchObject([{ code: 0, texts: Array.from({ length: 50 }, (_, index) => `hello ${index + 1}`) }]);
  });

  it('whose client streams', async () => {
    expect(await call('Collect', '--messages', '4', '--padding', '1000')).toMatchObject([{ code: 0, texts: ['hello 1;hello 2;hello 3;hello 4;'], received: 4000 }]);
  });

  it('that stream both ways', async () => {
    expect(await call('Chat', '--messages', '20')).toMatchObject([{ code: 0, texts: Array.from({ length: 20 }, (_, index) => `hello ${index + 1};`) }]);
  });

  it('with messages of 4 MiB both ways, alone and in streams', async () => {
    const size = String(FOUR_MEBIBYTES);
    expect(await call('Say', '-n', '3', '--size', size, '--padding', size)).toMatchObject(Array.from({ length: 3 }, () => ({ code: 0, received: FOUR_MEBIBYTES, bytes: FOUR_MEBIBYTES })));
    expect(await call('Chat', '--messages', '4', '--size', size, '--padding', size)).toMatchObject([{ code: 0, received: 4 * FOUR_MEBIBYTES, bytes: 4 * FOUR_MEBIBYTES }]);
  }, 60_000);

  it('are balanced one by one over the servers of both nodes, whatever their connection', async () => {
    const nodes = new Map(servers.map(({ name, node }) => [name, node]));
    expect(new Set(nodes.values())).toEqual(new Set(['node1', 'node2']));
    const reports = await call('Say', '-n', '60');
    const seen = reports.flatMap(({ pods }) => pods);
    expect(seen).toHaveLength(60);
    expect(new Set(seen)).toEqual(new Set(nodes.keys()));
  });
});

describe('what goes wrong', () => {
  it('is told as the server said it, also without an answer before it', async () => {
    expect(await call('Say', '--status', String(NOT_FOUND), '--text', 'gone – ü')).toMatchObject([{ code: NOT_FOUND, details: 'as asked: gone – ü', texts: [] }]);
  });

  it('is told after the answers that came before it', async () => {
    expect(await call('List', '--size', '3', '--status', String(INVALID_ARGUMENT))).toMatchObject([{ code: INVALID_ARGUMENT, texts: ['hello 1', 'hello 2', 'hello 3'] }]);
  });

  it('a deadline that passes ends the call at both ends', async () => {
    expect(await call('Say', '--delay', '5000', '--deadline', '500', '--text', 'late')).toMatchObject([{ code: DEADLINE_EXCEEDED }]);
    await expect.poll(serverLogs, { timeout: 4000 }).toContain('cancelled late');
  });

  it('a call that its client cancels ends at the server', async () => {
    expect(await call('List', '--size', '1000', '--delay', '20', '--cancel-after', '3', '--text', 'enough')).toMatchObject([{ code: CANCELLED, texts: ['enough 1', 'enough 2', 'enough 3'] }]);
    await expect.poll(serverLogs, { timeout: 4000 }).toContain('cancelled enough');
  });

  it('UNAVAILABLE is tried again as the VirtualService says, and no more often', async () => {
    const retries = (attempts: number): string => JSON.stringify({
      apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'grpc-echo', namespace: 'grpc' },
      spec: { hosts: ['grpc-echo'], http: [{ retries: { attempts, retryOn: 'unavailable' }, route: [{ destination: { host: 'grpc-echo' } }] }] },
    });
    await applied(lab, retries(0));
    expect(await call('Say', '--failures', '1', '--text', 'untried')).toMatchObject([{ code: UNAVAILABLE, details: 'not now' }]);
    // Each of the three servers fails once.
    await applied(lab, retries(3));
    expect(await call('Say', '-n', '5', '--failures', '1', '--text', 'tried')).toMatchObject(Array.from({ length: 5 }, () => ({ code: 0, texts: ['tried'] })));
    await lab.delete(retries(3));
  });

  it('no server at all is UNAVAILABLE, in words', async () => {
    const nobody = JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'nobody', namespace: 'grpc' }, spec: { selector: { app: 'nobody' }, ports: [{ name: 'grpc', port: 9090 }] } });
    await applied(lab, nobody);
    const { stdout } = await lab.exec('client', ['node', 'lab/apps/grpc-client.ts', 'nobody:9090', 'Say']);
    expect(JSON.parse(stdout)).toMatchObject({ code: UNAVAILABLE, details: expect.stringMatching(/has no endpoint that may be used/) as unknown });
  });
});

describe('metrics', () => {
  it('say that it is gRPC, and how it ended, once at each end', async () => {
    const before = await scrapeAll(lab);
    await call('Say', '-n', '7');
    await call('Say', '-n', '2', '--status', String(NOT_FOUND));
    const after = await scrapeAll(lab);
    for (const reporter of ['source', 'destination']) {
      const labels = { reporter, request_protocol: 'grpc', destination_service_name: 'grpc-echo', response_code: '200' };
      expect(grown(before, after, { ...labels, grpc_response_status: '0' })).toBe(7);
      expect(grown(before, after, { ...labels, grpc_response_status: String(NOT_FOUND) })).toBe(2);
    }
    expect(grown(before, after, { reporter: 'destination', connection_security_policy: 'mutual_tls', request_protocol: 'grpc' })).toBe(9);
  });
});

describe('beside it', () => {
  it.each([['HTTP/2 with prior knowledge', '--http2-prior-knowledge', '2'], ['HTTP/1.1', '--http1.1', '1.1']])('a port named http2 is called with %s, and the server sees HTTP/2', async (_what, flag, version) => {
    const { stdout, stderr } = await lab.exec('client', ['curl', '-sS', '-m', '10', flag, '-d', 'a question', '-w', '%{http_version}', 'http://http2-echo/some/path']);
    expect(stderr).toBe('');
    const [body = '', spoken] = stdout.split('\n');
    expect(JSON.parse(body)).toMatchObject({ app: 'http2-echo', httpVersion: '2.0', method: 'POST', path: '/some/path', authority: 'http2-echo', body: 'a question' });
    expect(spoken).toBe(version);
  });

  it('WebSocket passes a port named http', async () => {
    const script = `
      const socket = new WebSocket('ws://websocket-echo/chat');
      const received = [];
      socket.onopen = () => socket.send('one');
      socket.onmessage = ({ data }) => { received.push(data); if (received.length < 3) socket.send(data + ' more'); else socket.close(1000, 'done'); };
      socket.onclose = ({ code, wasClean }) => console.log(JSON.stringify({ received, code, wasClean }));
      socket.onerror = ({ message }) => console.log(message);
    `;
    const { stdout, stderr } = await lab.exec('client', ['node', '-e', script]);
    expect(JSON.parse(stdout), stderr).toEqual({ received: ['one', 'one more', 'one more more'], code: 1000, wasClean: true });
  });
});
