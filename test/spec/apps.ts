/** Applications and their clients inside the cluster's hosts, in the test's own process: sockets keep the namespace they are born in. */
import { createServer, Socket } from 'node:net';
import type { Server } from 'node:net';
import { createInterface } from 'node:readline';
import { closeFd, connectSocket, dup, listenTcp } from '../../src/sys/socket.ts';
import { familyOf } from '../../src/sys/sockaddr.ts';
import type { Host } from '../netns/cluster.ts';

/** Says who it is and whom it sees, then echoes. */
export class App implements Disposable {
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();

  constructor(on: Host, port: number, addresses: readonly string[] = ['0.0.0.0', '::']) {
    this.#servers = addresses.map((address) => {
      const fd = on.netns.run(() => listenTcp({ address, port, backlog: 128, v6only: true }));
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        this.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => this.#sockets.delete(socket));
        socket.write(`${on.name} sees ${socket.remoteAddress}\n`);
        socket.pipe(socket);
      });
      return server.listen({ fd: dup(fd) }, () => closeFd(fd));
    });
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A connection of an application, with its first line read. */
export interface Call extends Disposable {
  readonly socket: Socket;
  readonly greeting: string;
  /** Send a line and return the next that comes back. */
  echo(line: string): Promise<string>;
}

export interface CallOptions {
  /** Make the socket IPv6 and let it reach IPv4 by its mapped address, as Java does. */
  mapped?: boolean;
  bindAddress?: string;
}

/** Connect from a host and read the greeting. Rejects with the socket's error, or when nothing comes. */
export async function call(from: Host, address: string, port: number, options: CallOptions = {}): Promise<Call> {
  const family = options.mapped === true ? 6 : familyOf(address);
  const fd = from.netns.run(() => connectSocket({ family, ...(options.bindAddress === undefined ? {} : { bindAddress: options.bindAddress }) }));
  const socket = new Socket({ fd, allowHalfOpen: true });
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await Promise.race([lines.next(), failure(socket)]);
    if (done === true) throw new Error('closed');
    return value;
  };
  socket.setTimeout(10_000, () => socket.destroy(new Error('nothing came for 10 s')));
  socket.connect({ host: options.mapped === true ? `::ffff:${address}` : address, port });
  try {
    const greeting = await next();
    return {
      socket,
      greeting,
      echo: (line) => {
        socket.write(`${line}\n`);
        return next();
      },
      [Symbol.dispose]: () => void socket.destroy(),
    };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** The greeting only. */
export async function greet(from: Host, address: string, port: number, options: CallOptions = {}): Promise<string> {
  using connection = await call(from, address, port, options);
  return connection.greeting;
}

function failure(socket: Socket): Promise<never> {
  return new Promise((_, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}
