import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../src/core/clock.ts';
import { MeshError } from '../../src/core/errors.ts';
import { DETECT_SILENCE_MS, HEAD_TIMEOUT_MS } from '../../src/core/limits.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Protocol } from '../../src/mesh/table.ts';
import type { Connection } from '../../src/proxy/connection.ts';
import type { DataPlane } from '../../src/proxy/dataplane.ts';
import { receive } from '../../src/proxy/newcomer.ts';
import type { ConnectionHandler } from '../../src/proxy/newcomer.ts';
import { OpaqueSession } from '../../src/proxy/opaque.ts';
import type { OpaqueDialer, OpaqueOutcome } from '../../src/proxy/opaque.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { Buffers } from '../../src/proxy/buffers.ts';
import { Identities } from '../../src/proxy/tls/identities.ts';
import { SocketTransport } from '../../src/proxy/socket-transport.ts';
import type { TransportOwner } from '../../src/proxy/transport.ts';
import { withoutKeys } from './jwt/without-keys.ts';

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

/** One client connection to one port, with the server's end in the test's hands and time standing still. */
class Bench implements OpaqueDialer, ConnectionHandler {
  readonly clock = new FakeClock();
  readonly client: Duplex;
  /** What became of the connection: `http:<bytes>`, `dial`, `cancel`, `remember`, `closed`, `tcp opened`, `tcp closed <flags>`. */
  readonly log: string[] = [];
  readonly ours: Duplex;
  server: Duplex | undefined;
  seen = '';
  #outcome: OpaqueOutcome | undefined;
  readonly #protocol: Protocol;
  readonly #dataplane: DataPlane;
  leases = 0;
  /** Connections that the handler has an eye on. */
  watched = 0;

  constructor(protocol: Protocol, { refused, opaqueAllowed = true }: { readonly refused?: MeshError; readonly opaqueAllowed?: boolean } = {}) {
    this.#refused = refused;
    this.opaqueAllowed = opaqueAllowed;
    this.#protocol = protocol;
    const [ours, theirs] = duplexPair({ allowHalfOpen: true });
    this.client = theirs;
    this.ours = ours;
    theirs.on('error', () => undefined);
    theirs.on('data', (chunk: Buffer) => (this.seen += chunk.toString('latin1')));
    this.#dataplane = {
      clock: this.clock,
      random: seededRandom(1),
      log: createLogger('test', 'silent'),
      telemetry: {
        exchangeEnded: () => undefined,
        tcpOpened: () => this.log.push('tcp opened'),
        tcpBytes: () => undefined,
        tcpClosed: (facts) => this.log.push(`tcp closed ${facts.flags}`.trim()),
      },
      dialer: { dial: () => { throw new Error('not dialled here'); }, socket: () => { throw new Error('not dialled here'); } },
      identities: new Identities(),
      authenticator: withoutKeys(this.clock),
      buffers: new Buffers(),
      resolve: async () => [],
      nodeAddresses: () => new Set(),
      workloads: new Map(),
      draining: () => false,
    };
    const connection = { direction: 'outbound', remoteAddress: '10.0.0.1', remotePort: 4000, destinationAddress: '10.0.0.2', destinationPort: 80, serverName: '' } as Connection;
    receive(SocketTransport.over(ours, NOBODY), connection, this, this.#dataplane, () => this.log.push('closed'));
  }

  readonly #refused: MeshError | undefined;
  opaqueAllowed: boolean;

  fault(): MeshError | undefined {
    return this.#refused;
  }

  isTcpProbe(): boolean {
    return false;
  }

  accepted(): () => void {
    this.watched += 1;
    return () => (this.watched -= 1);
  }

  mayBeOpaque(): boolean {
    return this.opaqueAllowed;
  }

  protocol(): Protocol {
    return this.#protocol;
  }

  rememberOpaque(): void {
    this.log.push('remember');
  }

  http(): TransportOwner {
    return { ...NOBODY, bytes: (buffer, length) => this.log.push(`http:${buffer.toString('latin1', 0, length)}`) };
  }

  opaque(connection: Connection, observer: ConstructorParameters<typeof OpaqueSession>[4]): OpaqueSession {
    this.log.push(`dial ${connection.serverName}`.trim());
    return new OpaqueSession(this.#dataplane, this, new Exchange('source', connection, undefined, 0), { routes: undefined }, observer);
  }

  connect(_exchange: Exchange, _target: unknown, outcome: OpaqueOutcome): { cancel(): void } {
    this.#outcome = outcome;
    return { cancel: () => this.log.push('cancel') };
  }

  /** The upstream's connection is made. */
  dialled(): void {
    const [ours, theirs] = duplexPair({ allowHalfOpen: true });
    this.server = theirs;
    this.leases += 1;
    this.#outcome?.dialled(SocketTransport.over(ours, NOBODY), { idleTimeoutMs: 0, release: () => (this.leases -= 1) });
  }

  unreachable(): void {
    this.#outcome?.unreachable(new MeshError('upstream_connect_failed'));
  }

  /** Let streams deliver what was written. */
  async settle(): Promise<void> {
    for (let i = 0; i < 10; i += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function serverGets(bench: Bench): Promise<string> {
  let text = '';
  bench.server?.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  await bench.settle();
  return text;
}

describe('a connection to a port of undeclared protocol', () => {
  it('goes to HTTP when the client begins a request, however it is split, and dials nothing', async () => {
    const bench = new Bench('sniff');
    bench.client.write('GE');
    await bench.settle();
    bench.client.write('T / HTTP/1.1\r\nHo');
    await bench.settle();
    expect(bench.log).toEqual(['http:GET / HTTP/1.1\r\nHo']);
  });

  it('dials in parallel while the client is silent; a server that speaks first makes it opaque, and the port is remembered', async () => {
    const bench = new Bench('sniff');
    await bench.settle();
    expect(bench.log).toEqual([]);
    bench.clock.advance(DETECT_SILENCE_MS);
    expect(bench.log).toEqual(['dial']);
    bench.dialled();
    bench.server?.write('220 ready\r\n');
    await bench.settle();
    expect(bench.log).toContain('remember');
    expect(bench.seen).toBe('220 ready\r\n');
    bench.client.write('HELO\r\n');
    expect(await serverGets(bench)).toBe('HELO\r\n');
  });

  it('gives the early upstream up when the client speaks HTTP after all', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.dialled();
    bench.client.write('GET / HTTP/1.1\r\n');
    await bench.settle();
    expect(bench.log).toEqual(['dial', 'cancel', 'http:GET / HTTP/1.1\r\n']);
    expect(bench.leases).toBe(0);
  });

  it('uses the early upstream when the client speaks something else', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.client.write('PING\r\n');
    await bench.settle();
    bench.dialled();
    expect(await serverGets(bench)).toBe('PING\r\n');
    expect(bench.log.filter((line) => line === 'dial')).toHaveLength(1);
    expect(bench.log).not.toContain('remember');
  });

  it('hands over what a server said that closed at once', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.dialled();
    bench.server?.end('sorry\r\n');
    await bench.settle();
    expect(bench.seen).toBe('sorry\r\n');
  });

  it.each([['says that no request came', 'HTTP/1.1 408 Request Timeout\r\n\r\n'], ['closes', undefined]])('that is silent until the server %s does not make the port opaque for others', async (_, said) => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.dialled();
    bench.server?.end(said);
    await bench.settle();
    expect(bench.seen).toBe(said ?? '');
    expect(bench.log).not.toContain('remember');
  });

  it('may still speak HTTP/2 when its server has sent SETTINGS first', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.dialled();
    bench.server?.write(Buffer.from('000006040000000000000300000064', 'hex'));
    await bench.settle();
    bench.client.write('PRI * HTTP/2.0\r\n\r\n');
    await bench.settle();
    expect(bench.log).toEqual(['dial', 'cancel', 'http:PRI * HTTP/2.0\r\n\r\n']);
  });

  it('is reset when the early upstream cannot be reached', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.unreachable();
    await bench.settle();
    expect(bench.client.destroyed || bench.log.includes('closed')).toBe(true);
    expect(bench.log).toContain('tcp closed UF');
  });
});

describe('a connection that policies are against', () => {
  it('is reset before a byte is read, and nothing is dialled', async () => {
    const bench = new Bench('http', { refused: new MeshError('mtls_required') });
    bench.client.write('GET / HTTP/1.1\r\n');
    await bench.settle();
    expect(bench.log).toEqual(['closed']);
    expect(bench.ours.destroyed).toBe(true);
  });

  it('as an opaque one may still turn out to be HTTP: a silent client\'s upstream is not dialled', async () => {
    const bench = new Bench('sniff', { opaqueAllowed: false });
    bench.clock.advance(DETECT_SILENCE_MS);
    expect(bench.log).toEqual([]);
    bench.client.write('GET / HTTP/1.1\r\n');
    await bench.settle();
    expect(bench.log).toEqual(['http:GET / HTTP/1.1\r\n']);
  });

  it('because of its server name, is judged anew once the name is known', async () => {
    const bench = new Bench('sniff');
    bench.clock.advance(DETECT_SILENCE_MS);
    bench.opaqueAllowed = false;
    tlsConnect({ socket: bench.client, servername: 'secret.example.com' }).on('error', () => undefined);
    await bench.settle();
    // The early upstream is given up, and the connection asked for again, by its name.
    expect(bench.log).toEqual(['dial', 'cancel', 'dial secret.example.com']);
  });

  it('is watched for as long as it lasts', async () => {
    const bench = new Bench('http');
    expect(bench.watched).toBe(1);
    bench.clock.advance(HEAD_TIMEOUT_MS);
    await bench.settle();
    expect([bench.watched, bench.log]).toEqual([0, ['closed']]);
  });
});

describe('a connection to a port of declared protocol', () => {
  it('tcp: is dialled at once, and what the client sent meanwhile follows in order', async () => {
    const bench = new Bench('tcp');
    bench.client.write('a');
    await bench.settle();
    bench.client.write('b');
    await bench.settle();
    bench.dialled();
    expect(await serverGets(bench)).toBe('ab');
  });

  it('http: waits for its client, and closes it when no request comes', async () => {
    const bench = new Bench('http');
    bench.clock.advance(DETECT_SILENCE_MS * 10);
    expect(bench.log).toEqual([]);
    bench.clock.advance(HEAD_TIMEOUT_MS);
    await bench.settle();
    expect(bench.log).toEqual(['closed']);
  });

  it('http: what is no HTTP goes to the codec, which says so', async () => {
    const bench = new Bench('http');
    bench.client.write('PING\r\n');
    await bench.settle();
    expect(bench.log).toEqual(['http:PING\r\n']);
  });

  it('tcp: a client that goes away while it waits frees the dial', async () => {
    const bench = new Bench('tcp');
    await bench.settle();
    bench.ours.destroy(new Error('reset by peer'));
    await bench.settle();
    expect(bench.log).toEqual(['dial', 'cancel', 'tcp opened', 'tcp closed DC', 'closed']);
  });

  it('every session ends exactly once and gives its lease back', async () => {
    const bench = new Bench('tcp');
    bench.dialled();
    bench.client.end('bye');
    await bench.settle();
    bench.server?.resume();
    bench.server?.end();
    bench.client.resume();
    await bench.settle();
    expect(bench.log).toEqual(['dial', 'tcp opened', 'tcp closed', 'closed']);
    expect(bench.leases).toBe(0);
  });
});
