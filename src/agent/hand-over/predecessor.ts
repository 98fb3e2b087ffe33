/** The agent that serves this node now, seen by the one that is to take over from it. */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../core/log.ts';
import { receiveDescriptors } from '../../sys/descriptors.ts';
import { isOfThisNode } from '../../sys/peer.ts';
import { closeFd } from '../../sys/socket.ts';
import { connectUnix } from '../../sys/unix-socket.ts';
import { Inheritance } from './inheritance.ts';
import { descriptorOf, HAND_OVER_PROTOCOL, listen, say } from './messages.ts';
import type { FromServing } from './messages.ts';

const BUSY_RETRY_MS = 500;

export interface PredecessorOptions {
  /** Of its hand-over socket. */
  readonly path: string;
  /** The name of this agent. */
  readonly instance: string;
  readonly log: Logger;
}

type Hello = Extract<FromServing, { type: 'hello' }>;

export class Predecessor {
  readonly instance: string;
  /** SPIFFE ids that it can prove. */
  readonly certified: readonly string[];
  readonly #socket: Socket;
  readonly #channel: number;
  readonly #inbox: Inbox;
  #hasHandedOver = false;

  private constructor(socket: Socket, channel: number, inbox: Inbox, { instance, certified }: Hello) {
    this.instance = instance;
    this.certified = certified;
    this.#socket = socket;
    this.#channel = channel;
    this.#inbox = inbox;
  }

  /**
   * The agent that serves this node; undefined when there is none, or one that is gone. Where another is taking over already, this waits
   * for it to serve. Throws when the two cannot understand each other.
   */
  static async find(options: PredecessorOptions): Promise<Predecessor | undefined> {
    const { path, instance, log } = options;
    for (let isTold = false; ; isTold = true) {
      const socket = await connectedTo(path);
      if (socket === undefined) return undefined;
      const inbox = new Inbox(socket);
      say(socket, { type: 'hello', protocol: HAND_OVER_PROTOCOL, instance });
      const answer = await inbox.next();
      if (answer?.type === 'hello') {
        const channel = channelTo(path, answer.token);
        if (channel !== undefined) return new Predecessor(socket, channel, inbox, answer);
      }
      socket.destroy();
      if (answer === undefined || answer.type === 'hello') return undefined;
      if (answer.type !== 'busy') throw new Error(whyNot(answer));
      if (!isTold) log.info({ instance: answer.instance }, 'another agent is taking over this node; waiting for it to serve');
      await sleep(BUSY_RETRY_MS);
    }
  }

  /** It accepts connections, and relies on the capture being as it made it. */
  get isServing(): boolean {
    return !this.#hasHandedOver && !this.#inbox.isClosed;
  }

  /** Resolves when it has ended. */
  get gone(): Promise<void> {
    return this.#inbox.closed;
  }

  /** Its listening sockets: from now on it changes nothing of the capture, and goes on accepting. All that could be got, when it is gone. */
  async take(): Promise<Inheritance> {
    const fds: number[] = [];
    say(this.#socket, { type: 'take' });
    for (;;) {
      const message = await this.#inbox.next();
      if (message === undefined) return new Inheritance(fds, { pods: [], originalDsts: [] });
      if (message.type === 'passed') return new Inheritance(fds, message);
      if (message.type !== 'sockets') throw new Error(whyNot(message));
      const batch = receiveDescriptors(this.#channel);
      fds.push(...batch);
      if (batch.length !== message.count) throw new Error(`of ${message.count} sockets that were passed, ${batch.length} came`);
    }
  }

  /** All that it serves is served here too; resolves when it accepts no more. Throws when it has taken back its offer. */
  async taken(): Promise<void> {
    say(this.#socket, { type: 'taken' });
    const message = await this.#inbox.next();
    closeFd(this.#channel);
    if (message !== undefined && message.type !== 'handed-over') throw new Error(whyNot(message));
    this.#hasHandedOver = true;
  }

  /** This agent ends, having served: nothing is to be taken back. */
  ended(): void {
    say(this.#socket, { type: 'ended' });
    this.#socket.end();
  }

  /** This agent cannot take over: the one before goes on as if nothing had been. */
  giveUp(): void {
    this.#socket.destroy();
  }
}

function whyNot(message: FromServing): string {
  const reason = message.type === 'refused' ? message.reason : `it said ${message.type}`;
  return `the agent that serves this node does not hand over: ${reason}`;
}

async function connectedTo(path: string): Promise<Socket | undefined> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Never there; or killed, with the name left behind.
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw error;
  }
  if (isOfThisNode(descriptorOf(socket))) return socket;
  socket.destroy();
  throw new Error(`${path} belongs to a process that is not an agent of this node; find it (\`ss -xlp\`) and end it`);
}

/** Undefined when it has died since it said hello. */
function channelTo(path: string, token: string): number | undefined {
  let fd: number;
  try {
    fd = connectUnix(path);
  } catch {
    return undefined;
  }
  writeSync(fd, `${JSON.stringify({ type: 'channel', token })}\n`);
  return fd;
}

/** Messages in the order of their arrival, to be waited for. */
class Inbox {
  readonly closed: Promise<void>;
  readonly #messages: FromServing[] = [];
  #waiting: ((message: FromServing | undefined) => void) | undefined;
  #isClosed = false;

  /** The other end is gone; what it had said may still be waiting. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  constructor(socket: Socket) {
    listen(socket, (message) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) this.#messages.push(message as FromServing);
      else waiting(message as FromServing);
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isClosed = true;
        this.#waiting?.(undefined);
        resolve();
      });
    });
  }

  /** Undefined when the other end is gone. One caller at a time. */
  async next(): Promise<FromServing | undefined> {
    const message = this.#messages.shift();
    if (message !== undefined || this.#isClosed) return message;
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}
