/**
 * Reading into buffers of ours on a socket that was made without `onread`. TLS sockets over another socket take no `onread`; by
 * default each record becomes a new 16 KiB buffer and a 'data' event, and collecting that garbage cost 28 % of an agent's CPU
 * in bulk. What Node does for `onread` is done here afterwards, by the same properties. Node is pinned; should they be gone,
 * this throws at start instead of losing bytes.
 */
import { Socket } from 'node:net';

interface StreamHandle {
  useUserBuffer(buffer: Buffer): void;
}

type Slots = Record<symbol, unknown> & { _handle?: StreamHandle | null };

const [BUFFER, CALLBACK, NEXT] = slotsOf(new Socket({ onread: { buffer: Buffer.alloc(1), callback: () => true } }));

/** `next`: the first buffer, and after each read the next one, or undefined to go on with the same. Reading starts. */
export function readInto(socket: Socket, next: () => Buffer | undefined, received: (length: number, buffer: Buffer) => void): void {
  const slots = socket as unknown as Slots;
  const first = next();
  if (first === undefined || typeof slots._handle?.useUserBuffer !== 'function') throw new Error('this socket cannot be read into a buffer; see proxy/read-into.ts');
  slots[BUFFER] = first;
  slots[NEXT] = next;
  slots[CALLBACK] = (length: number, buffer: Buffer): boolean => {
    received(length, buffer);
    // Node stops reading when this is false; pause() has already done so where it is wanted.
    return true;
  };
  slots._handle.useUserBuffer(first);
  socket.resume();
}

function slotsOf(socket: Socket): [symbol, symbol, symbol] {
  const symbols = Object.getOwnPropertySymbols(socket);
  const find = (name: string): symbol => {
    const symbol = symbols.find(({ description }) => description === name);
    if (symbol === undefined) throw new Error(`this Node keeps ${name} of its sockets elsewhere; see proxy/read-into.ts`);
    return symbol;
  };
  return [find('kBuffer'), find('kBufferCb'), find('kBufferGen')];
}
