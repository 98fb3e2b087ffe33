/**
 * Listening sockets by where they listen. What each of them is for, the kernel says: it knows the network namespace, the
 * address and the port, and these are compared with what is wanted. So a socket can serve no other purpose than before.
 */
import { closeFd, isListening, localAddress, netnsCookie } from '../sys/socket.ts';

export interface SocketPlace {
  /** Of the network namespace. */
  readonly cookie: bigint;
  readonly address: string;
  readonly port: number;
}

export class PlacedSockets {
  readonly #sockets = new Map<string, number>();

  /** Takes `fds` over, and closes those that do not listen. */
  constructor(fds: readonly number[]) {
    for (const fd of fds) {
      const name = isListening(fd) ? nameOf({ cookie: netnsCookie(fd), ...localAddress(fd) }) : undefined;
      if (name === undefined || this.#sockets.has(name)) closeFd(fd);
      else this.#sockets.set(name, fd);
    }
  }

  /** How many nobody has claimed. */
  get size(): number {
    return this.#sockets.size;
  }

  /** The socket that listens there; from now on the caller's to close. */
  claim(place: SocketPlace): number | undefined {
    const name = nameOf(place);
    const fd = this.#sockets.get(name);
    this.#sockets.delete(name);
    return fd;
  }

  /** Close what nobody has claimed: connections to it would wait for ever. */
  close(): void {
    for (const fd of this.#sockets.values()) closeFd(fd);
    this.#sockets.clear();
  }
}

function nameOf({ cookie, address, port }: SocketPlace): string {
  return `${cookie} ${address} ${port}`;
}
