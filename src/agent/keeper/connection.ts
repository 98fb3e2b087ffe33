/** A connection to an orlop-keeper: its messages (keeper/orlop-keeper.c), one packet each. */
import { setTimeout as sleep } from 'node:timers/promises';
import { receivePacket, sendPacket } from '../../sys/descriptors.ts';
import type { Packet } from '../../sys/descriptors.ts';
import { isOfThisNode } from '../../sys/peer.ts';
import { closeFd } from '../../sys/socket.ts';
import { SysError } from '../../sys/sys-error.ts';
import { connectUnix } from '../../sys/unix-socket.ts';

/** Between two answers: it has them within microseconds, or hangs. */
const TAKE_MS = 2_000;
const POLL_MS = 2;

/** Every method throws when the keeper is gone. None waits for it. */
export class KeeperConnection {
  readonly #fd: number;
  #isClosed = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Throws a {@link SysError}, of the code `ECONNREFUSED` where one has been that is gone. */
  static open(path: string): KeeperConnection {
    const fd = connectUnix(path, { packets: true });
    let isKeeper = false;
    try {
      // Who listens there would be given every listening socket of the node.
      isKeeper = isOfThisNode(fd);
    } finally {
      if (!isKeeper) closeFd(fd);
    }
    if (isKeeper) return new KeeperConnection(fd);
    throw new Error(`${path} belongs to a process that is not a keeper of this node; find it (\`ss -xlp\`) and end it`);
  }

  /** False: it has not taken yet what it was sent before. */
  keep(name: string, fds: readonly number[]): boolean {
    return this.#send({ text: `K${name}`, fds });
  }

  forget(name: string): boolean {
    return this.#send({ text: `F${name}`, fds: [] });
  }

  /** It closes what was not kept by this connection. */
  settle(): boolean {
    return this.#send({ text: 'S', fds: [] });
  }

  /** It closes everything. */
  clear(): boolean {
    return this.#send({ text: 'C', fds: [] });
  }

  /** Copies of all that it keeps, which are the caller's; it goes on keeping. As far as they have come, when it does not answer in time. */
  async take(): Promise<{ readonly fds: number[]; readonly fault: string | undefined }> {
    const fds: number[] = [];
    try {
      if (!this.#send({ text: 'T', fds: [] })) return { fds, fault: 'it is busy' };
      for (let heardMs = performance.now(); ; ) {
        const packet = this.#receive();
        if (packet?.text === 'E') return { fds, fault: undefined };
        if (packet !== undefined) {
          fds.push(...packet.fds);
          heardMs = performance.now();
        } else if (performance.now() - heardMs > TAKE_MS) return { fds, fault: `it did not answer within ${TAKE_MS} ms` };
        else await sleep(POLL_MS);
      }
    } catch (error) {
      return { fds, fault: error instanceof Error ? error.message : String(error) };
    }
  }

  /** It says nothing without being asked; but when it ends, this throws. */
  check(): void {
    for (const fd of this.#receive()?.fds ?? []) closeFd(fd);
  }

  close(): void {
    if (!this.#isClosed) closeFd(this.#fd);
    this.#isClosed = true;
  }

  /** Its number may be another one's by now. */
  #checkOpen(): void {
    if (this.#isClosed) throw new Error('the connection is closed');
  }

  #send(packet: Packet): boolean {
    this.#checkOpen();
    try {
      sendPacket(this.#fd, packet);
      return true;
    } catch (error) {
      if (isLater(error)) return false;
      throw error;
    }
  }

  /** Undefined: nothing has come yet. */
  #receive(): Packet | undefined {
    this.#checkOpen();
    let packet: Packet | undefined;
    try {
      packet = receivePacket(this.#fd);
    } catch (error) {
      if (isLater(error)) return undefined;
      throw error;
    }
    if (packet === undefined) throw new Error('it has ended');
    return packet;
  }
}

function isLater(error: unknown): boolean {
  return error instanceof SysError && error.code === 'EAGAIN';
}
