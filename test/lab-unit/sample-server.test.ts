import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call } from '../../lab/apps/sample-server.ts';

describe('a call of a sample application', () => {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json').writeHead(request.url === '/bad' ? 503 : 200).end(JSON.stringify(request.headers));
  });
  let url: string;

  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  it('passes trace headers and the user on, and nothing else', async () => {
    const passed = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', b3: '1-2', 'x-request-id': 'r', 'end-user': 'jason', 'x-b3-traceid': 't' };
    const { status, body } = await call(url, { ...passed, 'content-length': '5', 'x-private': 'secret' });
    expect(status).toBe(200);
    expect(body).toMatchObject(passed);
    expect(body).not.toHaveProperty('x-private');
  });

  it('tells a failure of the other end from one of the way there', async () => {
    expect((await call(`${url}/bad`, {})).status).toBe(503);
    expect(await call('http://127.0.0.1:1', {})).toMatchObject({ status: 0, body: expect.stringContaining('ECONNREFUSED') as unknown });
  });
});
