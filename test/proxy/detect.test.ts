import { connect as tlsConnect } from 'node:tls';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { detect, serverName } from '../../src/proxy/detect.ts';
import type { Detected } from '../../src/proxy/detect.ts';

/** The verdict after each further byte, as a connection that trickles in would see it. */
function verdicts(text: string): Detected[] {
  const bytes = Buffer.from(text, 'latin1');
  return Array.from({ length: bytes.length }, (_, i) => detect(bytes, i + 1));
}

describe('detect', () => {
  it.each([
    ['GET / HTTP/1.1\r\n', 'http1'],
    ['\r\nGET / HTTP/1.0\r\n', 'http1'],
    ['\nGET / HTTP/1.1\r\n', 'http1'],
    ['\r\n\n\r\r\nGET / HTTP/1.1\r\n', 'http1'],
    ['GET x+1://a/b HTTP/1.1\r\n', 'http1'],
    ['FROBNICATE /x?y=z HTTP/1.1\r\n', 'http1'],
    ['GET http://a/b HTTP/1.1\r\n', 'http1'],
    ['OPTIONS * HTTP/1.1\r\n', 'http1'],
    ['CONNECT db:5432 HTTP/1.1\r\n', 'http1'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2'],
  ])('%j is %s, and is never taken for something else on the way', (text, expected) => {
    const seen = new Set(verdicts(text));
    seen.delete('more');
    expect([...seen]).toEqual([expected]);
  });

  it.each([
    ['PING\r\n', 5],
    ['*1\r\n$4\r\nPING\r\n', 3],
    ['SET key value\r\n', 8],
    ['get /key\r\n', 10],
    ['\0\0\0\x08\x04\xd2\x16\x2f', 1],
    ['EHLO example.com\r\n', 17],
    ['EHLO x:25\r\n', 8],
    ['\r\r\0', 3],
    ['\x16\x02', 2],
    [`${'A'.repeat(40)} /`, 33],
  ])('%j is opaque at the first byte that proves it', (text, at) => {
    const seen = verdicts(text);
    expect(seen.indexOf('opaque') + 1).toBe(at);
    expect(new Set(seen.slice(0, at - 1))).not.toContain('http1');
  });

  it('knows a TLS record by its header', () => {
    expect(verdicts('\x16\x03\x01')).toEqual(['more', 'more', 'tls']);
  });
});

/** A ClientHello as OpenSSL writes it. */
async function realClientHello(servername: string | undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const server = createServer((socket) => {
    socket.once('data', (chunk: Buffer) => {
      chunks.push(chunk);
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    const client = tlsConnect({ host: '127.0.0.1', port, ...(servername === undefined ? {} : { servername }) });
    client.on('error', () => undefined);
    client.on('close', () => {
      resolve();
    });
  });
  server.close();
  return Buffer.concat(chunks);
}

/** The same handshake message cut into records of `size` bytes, as RFC 8446 §5.1 allows. */
function fragment(record: Buffer, size: number): Buffer {
  const body = record.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    records.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

describe('serverName', () => {
  it('reads the name of a real ClientHello, and asks for more at every byte before its end', async () => {
    const hello = await realClientHello('Www.Example.com');
    for (let length = 0; length < hello.length; length += 1) expect(serverName(hello, length)).toBeUndefined();
    expect(serverName(hello, hello.length)).toBe('www.example.com');
  });

  it('reads it from a hello that is split over records', async () => {
    const hello = fragment(await realClientHello('split.example'), 7);
    expect(serverName(hello, hello.length)).toBe('split.example');
  });

  it('is empty for a hello without a name and for other bytes', async () => {
    const hello = await realClientHello(undefined);
    expect(serverName(hello, hello.length)).toBe('');
    expect(serverName(Buffer.from('\x15\x03\x01\x00\x02\x02\x28', 'latin1'), 7)).toBe('');
    expect(serverName(Buffer.from('\x16\x03\x01\x00\x04\x02\x00\x00\x00', 'latin1'), 9)).toBe('');
  });

  it('survives a hello whose lengths lie', async () => {
    const hello = await realClientHello('lies.example');
    for (let at = 9; at < hello.length; at += 1) {
      const broken = Buffer.from(hello);
      broken[at] = 0xff;
      expect(() => serverName(broken, broken.length)).not.toThrow();
    }
  });
});
