/**
 * What two agents of one node say to each other while one hands over to the next: lines of JSON on a unix socket. Sockets
 * themselves travel beside them, on a second connection that nobody else reads from (sys/descriptors.ts).
 *
 *   next                                         serving
 *   hello ───────────────────────────────────→
 *         ←─────────────────────────────────── hello (or busy, or refused)
 *   … configuration read, certificates there …
 *   take ────────────────────────────────────→   changes nothing of the capture from here on
 *         ←──────────────── sockets, again and again, and then passed
 *   … every pod is accepted for, by both …
 *   taken ───────────────────────────────────→   accepts no more
 *         ←─────────────────────────────────── handed-over
 *   … both live; the connection tells each of the other's end …
 *   ended ───────────────────────────────────→   the next one ends on purpose: nothing is to be taken back
 */
import type { Socket } from 'node:net';
import { HAND_OVER_LINE_BYTES_MAX } from '../../core/limits.ts';
import type { OriginalDst } from '../../redirect/redirector.ts';

/** Changed only when an agent that does not know of the change could not hand over. Then the next one says so instead of starting. */
export const HAND_OVER_PROTOCOL = 1;

export type FromNext =
  | { readonly type: 'hello'; readonly protocol: number; readonly instance: string }
  /** The first line of the second connection. */
  | { readonly type: 'channel'; readonly token: string }
  | { readonly type: 'take' }
  | { readonly type: 'taken' }
  | { readonly type: 'ended' };

export type FromServing =
  | {
    readonly type: 'hello';
    readonly protocol: number;
    readonly instance: string;
    /** Names the second connection. */
    readonly token: string;
    /** SPIFFE ids that it has valid certificates for: the next one needs them before it can serve as well. */
    readonly certified: readonly string[];
  }
  /** Another one is taking over just now. */
  | { readonly type: 'busy'; readonly instance: string }
  | { readonly type: 'refused'; readonly reason: string }
  /** So many have been sent on the second connection. */
  | { readonly type: 'sockets'; readonly count: number }
  /** That was all, and whose they are. */
  | { readonly type: 'passed'; readonly pods: readonly string[]; readonly originalDsts: readonly OriginalDst[] }
  | { readonly type: 'handed-over' };

/** Send a message. Nothing happens when the other end is gone: its end is told by the connection. */
export function say(socket: Socket, message: FromNext | FromServing): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/**
 * Call `hear` with each message. Who sends something else is cut off: agents are each other's equals, but a program that only
 * happens to be root is not one. The messages are trusted beyond their type.
 */
export function listen(socket: Socket, hear: (message: FromNext | FromServing) => void): void {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const message = messageOf(text.slice(0, end));
      text = text.slice(end + 1);
      if (message === undefined) {
        socket.destroy();
        return;
      }
      hear(message);
    }
    if (text.length > HAND_OVER_LINE_BYTES_MAX) socket.destroy();
  });
}

/** Node keeps the descriptor of a connection in its handle. */
export function descriptorOf(socket: Socket): number {
  const fd = (socket as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (fd < 0) throw new Error('Node hides the descriptor of a connection');
  return fd;
}

function messageOf(line: string): FromNext | FromServing | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null && typeof (message as { type?: unknown }).type === 'string' ? (message as FromNext | FromServing) : undefined;
  } catch {
    return undefined;
  }
}
