/** A stream of a tunnel as a connection: the same promises that a socket gives to a codec. */
import { beforeEach, describe, expect, it } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { StreamTransport } from '../../../src/proxy/hbone/stream-transport.ts';
import type { StreamEnd } from '../../../src/proxy/hbone/stream-transport.ts';
import type { TransportOwner } from '../../../src/proxy/transport.ts';
import { beginTurn, endTurn } from '../../../src/proxy/turn.ts';

const ADDRESSES = { localAddress: '10.0.0.1', localPort: 8080, remoteAddress: '10.0.0.2', remotePort: 40_000 };

/** The stream below, and what it was told. */
class FakeStream implements StreamEnd {
  readonly told: string[] = [];
  takes = true;

  send(chunk: Buffer): boolean {
    this.told.push(chunk.length > 20 ? `${chunk.length} bytes` : chunk.toString('latin1'));
    return this.takes;
  }

  finish(): void {
    this.told.push('<end>');
  }

  cut(abruptly: boolean): void {
    this.told.push(abruptly ? '<reset>' : '<close>');
  }

  goOn(): void {
    this.told.push('<go on>');
  }
}

/** The codec above, and what it was told. */
class FakeOwner implements TransportOwner {
  readonly told: string[] = [];
  onBytes: () => void = () => undefined;

  connected(): void {
    this.told.push('<connected>');
  }

  bytes(buffer: Buffer, length: number): void {
    this.told.push(buffer.toString('latin1', 0, length));
    this.onBytes();
  }

  ended(): void {
    this.told.push('<end>');
  }

  drained(): void {
    this.told.push('<drained>');
  }

  closed(error: Error | undefined): void {
    this.told.push(error === undefined ? '<closed>' : `<closed: ${(error as MeshError).code}>`);
  }
}

let stream: FakeStream;
let owner: FakeOwner;
let transport: StreamTransport;

beforeEach(() => {
  stream = new FakeStream();
  owner = new FakeOwner();
  transport = new StreamTransport(stream, ADDRESSES, owner);
});

/** After everything that was put off to a later turn. */
async function settled(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

describe('writing', () => {
  it('gathers what one turn writes', () => {
    beginTurn();
    transport.write('a');
    transport.writeBytes(Buffer.from('b'));
    transport.write('c');
    expect(stream.told).toEqual([]);
    endTurn();
    expect(stream.told).toEqual(['abc']);
    expect(transport.bytesWritten).toBe(3);
  });

  it('gathers outside of turns as well', async () => {
    transport.write('a');
    transport.write('b');
    await settled();
    expect(stream.told).toEqual(['ab']);
  });

  it('keeps the order of text and large chunks, and every octet', () => {
    beginTurn();
    transport.write('\u00ff');
    transport.writeBytes(Buffer.alloc(100_000, 7));
    transport.write('z');
    endTurn();
    expect(stream.told).toEqual(['\u00ff', '100000 bytes', 'z']);
  });

  it('does not gather without bound', () => {
    beginTurn();
    for (let i = 0; i < 100; i += 1) transport.write('x'.repeat(1024));
    expect(stream.told.length).toBeGreaterThan(0);
    endTurn();
    expect(transport.bytesWritten).toBe(100 * 1024);
  });

  it('lets a chunk be reused at once: small ones are copied', () => {
    const chunk = Buffer.from('first');
    beginTurn();
    transport.writeBytes(chunk);
    chunk.write('wrong');
    endTurn();
    expect(stream.told).toEqual(['first']);
  });

  it('holds its owner while the stream takes no more, and says once when it may go on', () => {
    stream.takes = false;
    expect(transport.writeBytes(Buffer.alloc(10_000))).toBe(false);
    expect(transport.write('more')).toBe(false);
    expect(owner.told).toEqual([]);
    stream.takes = true;
    transport.mayGoOn();
    transport.mayGoOn();
    expect(owner.told).toEqual(['<drained>']);
    expect(transport.write('again')).toBe(true);
  });

  it('says nothing of being drained to an owner that was not held', () => {
    transport.write('a');
    transport.mayGoOn();
    expect(owner.told).toEqual([]);
  });

  it('sends what is gathered before its end, and nothing after it', async () => {
    beginTurn();
    transport.write('last');
    transport.end();
    transport.write('late');
    transport.end();
    endTurn();
    await settled();
    expect(stream.told).toEqual(['last', '<end>']);
  });
});

describe('reading', () => {
  it('hands over what comes, in turns of its own', () => {
    owner.onBytes = () => transport.write('answer');
    expect(transport.received(Buffer.from('question'))).toBe(true);
    expect(owner.told).toEqual(['question']);
    expect(stream.told).toEqual(['answer']);
    expect(transport.bytesRead).toBe(8);
  });

  it('tells the stream to hold from the chunk on in which its owner paused', () => {
    owner.onBytes = () => transport.pause();
    expect(transport.received(Buffer.from('a'))).toBe(false);
    transport.resume();
    expect(stream.told).toEqual(['<go on>']);
  });

  it('hands nothing to an owner that has paused before it came', () => {
    transport.pause();
    const borrowed = Buffer.from('early');
    expect(transport.received(borrowed)).toBe(false);
    borrowed.fill('?');
    transport.receivedEnd();
    expect(owner.told).toEqual([]);
    transport.resume();
    expect(owner.told).toEqual(['early', '<end>']);
  });

  it('stays paused when its owner pauses again over what was kept', () => {
    owner.onBytes = () => transport.pause();
    transport.pause();
    transport.received(Buffer.from('early'));
    transport.resume();
    expect(owner.told).toEqual(['early']);
    expect(stream.told).toEqual([]);
    transport.resume();
    expect(stream.told).toEqual(['<go on>']);
  });

  it('tells the stream nothing when nothing was held', () => {
    transport.resume();
    expect(stream.told).toEqual([]);
  });
});

describe('the end', () => {
  it('is each direction\'s own: ours first', async () => {
    transport.end();
    expect(transport.received(Buffer.from('still here'))).toBe(true);
    expect(transport.open).toBe(true);
    transport.receivedEnd();
    await settled();
    expect(owner.told).toEqual(['still here', '<end>', '<closed>']);
    expect(transport.open).toBe(false);
  });

  it('is each direction\'s own: theirs first', async () => {
    transport.receivedEnd();
    beginTurn();
    transport.write('answer');
    endTurn();
    expect(transport.open).toBe(true);
    transport.end();
    await settled();
    expect(stream.told).toEqual(['answer', '<end>']);
    expect(owner.told).toEqual(['<end>', '<closed>']);
  });

  it('comes once, in a later turn, when the owner destroys or resets', async () => {
    for (const [how, told] of [['destroy', '<close>'], ['reset', '<reset>']] as const) {
      const [below, above] = [new FakeStream(), new FakeOwner()];
      const cut = new StreamTransport(below, ADDRESSES, above);
      beginTurn();
      cut.write('lost');
      cut[how]();
      cut[how]();
      endTurn();
      expect(above.told).toEqual([]);
      await settled();
      expect([below.told, above.told]).toEqual([[told], ['<closed>']]);
    }
  });

  it('tells a close of the other end from a reset', () => {
    for (const [code, told] of [['tunnel_closed', '<closed>'], ['tunnel_reset', '<closed: tunnel_reset>']] as const) {
      const above = new FakeOwner();
      const other = new StreamTransport(new FakeStream(), ADDRESSES, above);
      other.lost(new MeshError(code));
      other.lost(new MeshError(code));
      expect(above.told).toEqual([told]);
    }
  });

  it('is the end: nothing is handed over or sent any more', async () => {
    transport.lost(new MeshError('tunnel_reset'));
    expect(transport.received(Buffer.from('late'))).toBe(true);
    transport.receivedEnd();
    transport.opened();
    transport.mayGoOn();
    transport.write('late');
    transport.writeBytes(Buffer.alloc(10_000));
    transport.end();
    transport.reset();
    await settled();
    expect(owner.told).toEqual(['<closed: tunnel_reset>']);
    expect(stream.told).toEqual([]);
  });
});

it('knows its ends, and says when the connection is made', () => {
  expect(transport).toMatchObject(ADDRESSES);
  transport.opened();
  expect(owner.told).toEqual(['<connected>']);
});
