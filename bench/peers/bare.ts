/**
 * The yardstick for what Node itself costs: a proxy that finds the end of each head and the Content-Length, passes the
 * bytes on as they are over pooled connections, and does nothing else. It believes its peers; it is no server for real use.
 *
 *     bare.ts BACKEND HTTP_PORT BULK_PORT LISTEN_HTTP LISTEN_BULK
 */
import { connect, createServer, type Socket } from 'node:net';

const [backend, httpPort, bulkPort, listenHttp, listenBulk] = process.argv.slice(2) as [string, string, string, string, string];

const idle: Upstream[] = [];

/** Ends of the messages of one direction of a connection, from their Content-Length alone. */
class Messages {
  #held: Buffer | undefined;
  #bodyLeft = 0;

  /** Whether the last message asked for its connection to be closed. */
  close = false;

  /** Takes the next bytes and returns what to pass on: undefined while a head is incomplete. */
  feed(chunk: Buffer): Buffer | undefined {
    if (this.#bodyLeft > 0) {
      this.#bodyLeft -= chunk.length;
      return chunk;
    }
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    const headEnd = bytes.indexOf('\r\n\r\n');
    this.#held = headEnd < 0 ? bytes : undefined;
    if (headEnd < 0) return undefined;
    const head = bytes.toString('latin1', 0, headEnd);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head);
    this.close = /\r\nconnection: *close/i.test(head);
    this.#bodyLeft = headEnd + 4 + (length === null ? 0 : Number(length[1])) - bytes.length;
    return bytes;
  }

  /** Whether the bytes fed so far end a message. */
  get ended(): boolean {
    return this.#held === undefined && this.#bodyLeft <= 0;
  }
}

class Upstream {
  readonly socket: Socket;
  readonly #messages = new Messages();
  #client: Socket | undefined;
  #closeAfter = false;

  constructor() {
    this.socket = connect({ host: backend, port: Number(httpPort), noDelay: true });
    this.socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.#client?.destroy();
      const position = idle.indexOf(this);
      if (position >= 0) idle.splice(position, 1);
    });
  }

  /** Answers the next request to `client`, and closes that connection afterwards when its client asked for it. */
  serve(client: Socket, closeAfter: boolean): void {
    this.#client = client;
    this.#closeAfter = closeAfter;
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#messages.feed(chunk);
    if (bytes === undefined) return;
    this.#client?.write(this.#closeAfter ? setConnection(bytes, 'close') : bytes);
    if (!this.#messages.ended) return;
    if (this.#closeAfter) this.#client?.end();
    this.#client = undefined;
    idle.push(this);
  }
}

createServer({ noDelay: true }, (client) => {
  const messages = new Messages();
  let upstream: Upstream | undefined;
  client.on('data', (chunk: Buffer) => {
    const bytes = messages.feed(chunk);
    if (bytes === undefined) return;
    if (upstream === undefined) {
      upstream = idle.pop() ?? new Upstream();
      upstream.serve(client, messages.close);
    }
    // A client that closes is no reason to lose the upstream connection.
    upstream.socket.write(messages.close ? setConnection(bytes, 'keep-alive') : bytes);
    if (messages.ended) upstream = undefined;
  });
  client.on('error', () => {});
}).listen(Number(listenHttp), '127.0.0.1', 4096);

function setConnection(message: Buffer, value: string): Buffer {
  return Buffer.from(message.toString('latin1').replace(/\r\nconnection:[^\r]*/i, `\r\nConnection: ${value}`), 'latin1');
}

createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const upstream = connect({ host: backend, port: Number(bulkPort), noDelay: true, allowHalfOpen: true });
  carry(client, upstream);
  carry(upstream, client);
}).listen(Number(listenBulk), '127.0.0.1', 4096);

function carry(source: Socket, target: Socket): void {
  source.on('data', (chunk: Buffer) => {
    if (!target.write(chunk)) source.pause();
  });
  target.on('drain', () => source.resume());
  source.on('end', () => target.end());
  source.on('error', () => target.destroy());
}
