/** gRPC, the main user of HTTP/2 within clusters: every kind of call through the codec, by a foreign client and server. */
import { Client, Metadata, Server, ServerCredentials, credentials, status } from '@grpc/grpc-js';
import type { MethodDefinition, ServerDuplexStream, ServerReadableStream, ServerUnaryCall, ServerWritableStream, ServiceError, sendUnaryData } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import { proxyTo } from '../codec-harness.ts';
import type { Proxy } from '../codec-harness.ts';

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

function asIs(message: Buffer): Buffer {
  return message;
}

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
  return { path: `/test.Echo/${name}`, requestStream, responseStream, requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs };
}

const SERVICE = { one: method('One', false, false), gather: method('Gather', true, false), spread: method('Spread', false, true), both: method('Both', true, true) };

interface Line {
  readonly client: Client;
  readonly proxy: Proxy;
  /** Calls the server was told to give up. */
  readonly cancelled: string[];
}

async function line(): Promise<Line> {
  const cancelled: string[] = [];
  const server = new Server();
  server.addService(SERVICE, {
    one: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
      const word = call.request.toString('latin1', 0, 5);
      if (word === 'sleep') {
        // grpc-js emits this at the end of every call, so it says something only of one that is not answered.
        call.on('cancelled', () => cancelled.push('one'));
        return;
      }
      if (word === 'error') answer({ code: status.FAILED_PRECONDITION, details: 'not now: größer' });
      else answer(null, call.request);
    },
    gather: (call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
      const parts: Buffer[] = [];
      call.on('data', (part: Buffer) => parts.push(part));
      call.on('end', () => {
        answer(null, Buffer.concat(parts));
      });
    },
    spread: (call: ServerWritableStream<Buffer, Buffer>) => {
      for (const part of call.request.toString().split(' ')) call.write(Buffer.from(part));
      if (call.request.includes('endless')) call.on('cancelled', () => cancelled.push('spread'));
      else call.end();
    },
    both: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (part: Buffer) => call.write(part));
      call.on('end', () => {
        call.end();
      });
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const proxy = await proxyTo(port, { downstream: 'http2', upstream: 'http2' });
  const client = new Client(`127.0.0.1:${proxy.port}`, credentials.createInsecure());
  closing.push({ close: () => server.forceShutdown() }, proxy, client);
  return { client, proxy, cancelled };
}

async function unary(client: Client, message: Buffer, deadlineMs?: number): Promise<Buffer | ServiceError> {
  return await new Promise((resolve) => {
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    client.makeUnaryRequest(SERVICE.one.path, asIs, asIs, message, new Metadata(), options, (error, answer) => {
      resolve(error ?? (answer as Buffer));
    });
  });
}

it('a call', async () => {
  const { client, proxy } = await line();
  for (const size of [0, 1, 100_000]) {
    const message = Buffer.alloc(size, 'x');
    expect(await unary(client, message)).toEqual(message);
  }
  expect(proxy.ended.map((facts) => [facts.protocol, facts.grpcStatus, facts.status])).toEqual([0, 1, 2].map(() => ['grpc', '0', 200]));
});

it('a call that fails', async () => {
  const { client, proxy } = await line();
  expect(await unary(client, Buffer.from('error'))).toMatchObject({ code: status.FAILED_PRECONDITION, details: 'not now: größer' });
  expect(proxy.ended[0]?.grpcStatus).toBe(String(status.FAILED_PRECONDITION));
});

it('a call whose time is up, which its server is told', async () => {
  const { client, cancelled } = await line();
  expect(await unary(client, Buffer.from('warm'))).toEqual(Buffer.from('warm'));
  expect(await unary(client, Buffer.from('sleep'), 1000)).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  while (cancelled.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(cancelled).toEqual(['one']);
});

it('a method that is not there', async () => {
  const { client } = await line();
  const error = await new Promise((resolve) => {
    client.makeUnaryRequest('/test.Echo/None', asIs, asIs, Buffer.from('x'), resolve);
  });
  expect(error).toMatchObject({ code: status.UNIMPLEMENTED });
});

it('a stream of requests', async () => {
  const { client } = await line();
  const gathered = new Promise<Buffer | undefined>((resolve, reject) => {
    const call = client.makeClientStreamRequest(SERVICE.gather.path, asIs, asIs, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
    for (let i = 0; i < 100; i += 1) call.write(Buffer.from(`${i} `));
    call.end();
  });
  expect((await gathered)?.toString()).toBe(Array.from({ length: 100 }, (_, i) => `${i} `).join(''));
});

it('a stream of answers, to its end and given up', async () => {
  const { client, cancelled } = await line();
  const parts: string[] = [];
  const whole = client.makeServerStreamRequest(SERVICE.spread.path, asIs, asIs, Buffer.from('a b c'));
  whole.on('data', (part: Buffer) => parts.push(part.toString()));
  await new Promise((resolve) => whole.on('end', resolve));
  expect(parts).toEqual(['a', 'b', 'c']);
  const endless = client.makeServerStreamRequest(SERVICE.spread.path, asIs, asIs, Buffer.from('endless'));
  endless.on('error', () => undefined);
  await new Promise((resolve) => endless.once('data', resolve));
  endless.cancel();
  while (cancelled.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(cancelled).toEqual(['spread']);
});

it('a conversation', async () => {
  const { client } = await line();
  const call = client.makeBidiStreamRequest(SERVICE.both.path, asIs, asIs);
  for (let i = 0; i < 50; i += 1) {
    const answer = new Promise<Buffer>((resolve) => call.once('data', resolve));
    call.write(Buffer.from(`turn ${i}`));
    expect((await answer).toString()).toBe(`turn ${i}`);
  }
  const ended = new Promise((resolve) => call.once('end', resolve));
  call.resume();
  call.end();
  await ended;
});
