/** DNS server of a node: UDP and TCP on the address of its bridge, answering from the lab's Zone. */
import { createSocket } from 'node:dgram';
import type { Socket as Datagrams } from 'node:dgram';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import packet from 'dns-packet';
import type { Packet } from 'dns-packet';
import { Netns } from '../sys/netns.ts';
import { listenTcp } from '../sys/socket.ts';
import type { Zone } from './zone.ts';

const DNS_PORT = 53;
const BACKLOG = 64;
/** Answers longer than this go by TCP (RFC 1035 §4.2.1). */
const UDP_BYTES_MAX = 512;
const TCP_IDLE_TIMEOUT_MS = 10_000;
const NXDOMAIN = 3;
const SERVER_FAILURE = 2;

export class DnsServer {
  readonly #udp: Datagrams;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  readonly #zone: () => Pick<Zone, 'answer'>;

  private constructor(udp: Datagrams, zone: () => Pick<Zone, 'answer'>) {
    this.#udp = udp;
    this.#zone = zone;
    this.#tcp = createServer((socket) => {
      this.#serve(socket);
    });
  }

  /** Serve on `address` inside the namespace at `netnsPath`; `zone` is asked for each question. */
  static async start(options: { netnsPath: string; address: string; zone: () => Pick<Zone, 'answer'> }): Promise<DnsServer> {
    using netns = Netns.open(options.netnsPath);
    const ready = Promise.withResolvers<undefined>();
    // With a lookup that answers at once, dgram makes and binds its socket before bind() returns, inside the bracket.
    const udp = createSocket({ type: 'udp4', lookup: (host, _options, callback) => {
      callback(null, host, 4);
    } });
    udp.once('listening', () => {
      ready.resolve(undefined);
    }).once('error', ready.reject);
    const server = new DnsServer(udp, options.zone);
    const fd = netns.run(() => {
      udp.bind(DNS_PORT, options.address);
      return listenTcp({ address: options.address, port: DNS_PORT, backlog: BACKLOG });
    });
    server.#tcp.listen({ fd });
    await ready.promise;
    // Losing one answer (a pod that went away) is not a reason to stop answering the others.
    udp.on('error', () => undefined).on('message', (query, from) => {
      udp.send(server.#reply(query, UDP_BYTES_MAX), from.port, from.address);
    });
    return server;
  }

  async close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#tcp.close(() => {
        this.#udp.close(resolve);
      });
    });
  }

  /** Messages on a stream have their length in front (RFC 1035 §4.2.2). */
  #serve(socket: Socket): void {
    this.#connections.add(socket);
    let pending = Buffer.alloc(0);
    socket.setTimeout(TCP_IDLE_TIMEOUT_MS, () => socket.destroy());
    socket.on('error', () => undefined).on('close', () => this.#connections.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const reply = this.#reply(pending.subarray(2, end), 0xffff);
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.write(Buffer.concat([length, reply]));
        pending = pending.subarray(end);
      }
    });
  }

  #reply(query: Buffer, bytesMax: number): Buffer {
    let decoded: Packet;
    try {
      decoded = packet.decode(query);
    } catch {
      return packet.encode({ type: 'response', id: query.length >= 2 ? query.readUInt16BE(0) : 0, flags: SERVER_FAILURE });
    }
    const [question] = decoded.questions ?? [];
    const reply = question === undefined ? { found: false, answers: [] } : this.#zone().answer(question);
    const recursion = (decoded.flags ?? 0) & packet.RECURSION_DESIRED;
    const response: Packet = {
      type: 'response',
      id: decoded.id ?? 0,
      flags: packet.AUTHORITATIVE_ANSWER | packet.RECURSION_AVAILABLE | recursion | (reply.found ? 0 : NXDOMAIN),
      questions: decoded.questions ?? [],
      answers: reply.answers,
    };
    const encoded = packet.encode(response);
    if (encoded.length <= bytesMax) return encoded;
    return packet.encode({ ...response, flags: (response.flags ?? 0) | packet.TRUNCATED_RESPONSE, answers: [] });
  }
}
