/** Raw ends of a connection for tests: an endpoint that keeps what it got, a client that says exactly what it is told to. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** An endpoint whose answers a test writes by hand. */
export class RawEndpoint {
  /** Everything that arrived, one string a connection. */
  readonly received: string[] = [];
  readonly sockets: Socket[] = [];
  readonly #server: Server;
  readonly #onData: (socket: Socket, soFar: string, connection: number) => void;

  private constructor(onData: (socket: Socket, soFar: string, connection: number) => void) {
    this.#onData = onData;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#accept(socket);
    });
  }

  /** `onData` is called with everything a connection has received so far, each time there is more. */
  static async listen(onData: (socket: Socket, soFar: string, connection: number) => void): Promise<RawEndpoint> {
    const endpoint = new RawEndpoint(onData);
    await new Promise<void>((resolve) => endpoint.#server.listen(0, '127.0.0.1', resolve));
    return endpoint;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }

  #accept(socket: Socket): void {
    const connection = this.received.push('') - 1;
    this.sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.received[connection] += chunk.toString('latin1');
      this.#onData(socket, this.received[connection] as string, connection);
    });
    socket.on('end', () => socket.end());
  }
}

export class RawClient {
  received = '';
  ended = false;
  error: Error | undefined;
  readonly socket: Socket;
  readonly #waiting: (() => void)[] = [];

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1');
      this.#changed();
    });
    this.socket.on('end', () => {
      this.ended = true;
      this.#changed();
    });
    this.socket.on('error', (error) => (this.error = error));
    this.socket.on('close', () => {
      this.ended = true;
      this.#changed();
    });
  }

  send(text: string): void {
    this.socket.write(text, 'latin1');
  }

  /** Wait until what has been received says so. */
  async until(condition: (received: string) => boolean): Promise<string> {
    while (!condition(this.received)) {
      if (this.ended) throw new Error(`the connection ended after ${JSON.stringify(this.received)}`);
      await this.#change();
    }
    return this.received;
  }

  /** Wait for the end of the connection; everything received. */
  async all(): Promise<string> {
    while (!this.ended) await this.#change();
    return this.received;
  }

  close(): void {
    this.socket.destroy();
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
