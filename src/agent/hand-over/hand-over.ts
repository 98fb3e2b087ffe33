/**
 * The agent that serves this node, seen by itself when the next one comes: what it passes on, and when it lets go. It serves until
 * the next one says that it does, and again when that one dies.
 */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { HAND_OVER_DEADLINE_MS } from '../../core/limits.ts';
import type { Logger } from '../../core/log.ts';
import type { OriginalDst } from '../../redirect/redirector.ts';
import { DESCRIPTORS_PER_MESSAGE_MAX, sendDescriptors } from '../../sys/descriptors.ts';
import { isOfThisNode } from '../../sys/peer.ts';
import { listenAt } from '../../sys/unix-socket.ts';
import { descriptorOf, HAND_OVER_PROTOCOL, listen, say } from './messages.ts';
import type { FromNext } from './messages.ts';

/** What is passed on. */
export interface Estate {
  /** Listening sockets; they stay the giver's own. */
  readonly fds: readonly number[];
  /** Whose they are, `ns/name`. */
  readonly pods: readonly string[];
  /** How destinations of connections are found that wait to be accepted. */
  readonly originalDsts: readonly OriginalDst[];
}

export interface HandOverOptions {
  readonly path: string;
  /** The name of this agent. */
  readonly instance: string;
  readonly log: Logger;
  /** SPIFFE ids that it has valid certificates for. */
  readonly certified: () => readonly string[];
  /** From now on, change nothing of the capture: the next one begins to. Serve as before. */
  readonly hold: () => Estate;
  /** The next one serves: accept no more, and let go of what was passed on. */
  readonly letGo: () => Promise<void>;
  /** The next one is gone. Serve alone, whatever it has left behind; false: this one ends, and does not. */
  readonly takeBack: (stage: 'held' | 'let go') => Promise<boolean>;
}

type Stage = 'serving' | 'preparing' | 'held' | 'let go';

export class HandOver {
  readonly #options: HandOverOptions;
  readonly #server: Server;
  readonly #token = randomUUID();
  #takeAway: () => void = () => undefined;
  #stage: Stage = 'serving';
  #next: Socket | undefined;
  #channel: Socket | undefined;
  /** Sockets are asked for, and the second connection is not here yet. */
  #isAsked = false;
  #lettingGo: Promise<void> = Promise.resolve();
  /** The next one ends on purpose. */
  #isOver = false;
  #late: NodeJS.Timeout | undefined;
  readonly #settled = new Set<() => void>();

  private constructor(options: HandOverOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** From now on this agent can be succeeded. */
  static async open(options: HandOverOptions): Promise<HandOver> {
    const handOver = new HandOver(options);
    handOver.#takeAway = await listenAt(handOver.#server, options.path, 0o600);
    handOver.#server.on('error', (error) => options.log.error({ reason: error.message }, 'the hand-over socket could not accept a connection'));
    return handOver;
  }

  get stage(): Stage {
    return this.#stage;
  }

  /** Resolves when no hand-over is under way: it has succeeded, or the next one is gone. */
  async settled(): Promise<void> {
    if (this.#stage === 'serving' || this.#stage === 'let go') return;
    await new Promise<void>((resolve) => {
      this.#settled.add(resolve);
    });
  }

  close(): void {
    this.#isOver = true;
    clearTimeout(this.#late);
    this.#stopListening();
    this.#next?.destroy();
    this.#channel?.destroy();
  }

  #accept(socket: Socket): void {
    let isKnown = false;
    try {
      isKnown = isOfThisNode(descriptorOf(socket));
    } catch (error) {
      this.#options.log.error({ reason: String(error) }, 'caller of the hand-over socket could not be told');
    }
    if (!isKnown) {
      socket.destroy();
      return;
    }
    listen(socket, (message) => this.#hear(socket, message as FromNext));
  }

  #hear(socket: Socket, message: FromNext): void {
    if (message.type === 'hello') this.#greet(socket, message.protocol, message.instance);
    else if (message.type === 'channel') this.#open(socket, message.token);
    else if (socket !== this.#next) socket.destroy();
    else if (message.type === 'take' && this.#stage === 'preparing') this.#hold(socket);
    else if (message.type === 'taken' && this.#stage === 'held') this.#lettingGo = this.#letGo(socket);
    else if (message.type === 'ended' && this.#stage === 'let go') this.#isOver = true;
    else this.#refuse(socket, `it was told "${message.type}" at a time when that makes no sense`);
  }

  #greet(socket: Socket, protocol: number, instance: string): void {
    if (this.#next !== undefined) {
      say(socket, { type: 'busy', instance: this.#options.instance });
      socket.end();
      return;
    }
    if (protocol !== HAND_OVER_PROTOCOL) {
      this.#refuse(socket, `it knows version ${HAND_OVER_PROTOCOL} of the protocol, and the next one version ${protocol}; let this upgrade replace agents one after the other (maxSurge: 0, maxUnavailable: 1)`);
      return;
    }
    this.#options.log.info({ instance }, 'the next agent of this node prepares to take over');
    this.#next = socket;
    this.#stage = 'preparing';
    socket.once('close', () => void this.#lost(instance));
    say(socket, { type: 'hello', protocol: HAND_OVER_PROTOCOL, instance: this.#options.instance, token: this.#token, certified: this.#options.certified() });
  }

  #open(socket: Socket, token: string): void {
    if (token !== this.#token || this.#channel !== undefined) {
      socket.destroy();
      return;
    }
    this.#channel = socket;
    if (this.#isAsked && this.#next !== undefined) this.#hold(this.#next);
  }

  #hold(socket: Socket): void {
    this.#isAsked = this.#channel === undefined;
    if (this.#channel === undefined) return;
    this.#stage = 'held';
    this.#late = setTimeout(() => this.#refuse(socket, `it was not ready within ${HAND_OVER_DEADLINE_MS} ms of taking over`), HAND_OVER_DEADLINE_MS);
    try {
      const { fds, pods, originalDsts } = this.#options.hold();
      for (let at = 0; at < fds.length; at += DESCRIPTORS_PER_MESSAGE_MAX) {
        const batch = fds.slice(at, at + DESCRIPTORS_PER_MESSAGE_MAX);
        sendDescriptors(descriptorOf(this.#channel), batch);
        say(socket, { type: 'sockets', count: batch.length });
      }
      say(socket, { type: 'passed', pods, originalDsts });
    } catch (error) {
      this.#refuse(socket, error instanceof Error ? error.message : String(error));
    }
  }

  async #letGo(socket: Socket): Promise<void> {
    clearTimeout(this.#late);
    this.#stage = 'let go';
    this.#stopListening();
    await this.#options.letGo();
    this.#channel?.destroy();
    this.#channel = undefined;
    say(socket, { type: 'handed-over' });
    this.#settle();
  }

  /** The next one serves alone, or this one does. */
  async #lost(instance: string): Promise<void> {
    await this.#lettingGo;
    const stage = this.#stage;
    clearTimeout(this.#late);
    this.#channel?.destroy();
    this.#channel = undefined;
    this.#isAsked = false;
    if (this.#isOver) return;
    this.#options.log.warn({ instance, stage }, 'the next agent is gone; this one serves on');
    try {
      if ((stage === 'held' || stage === 'let go') && !await this.#options.takeBack(stage)) {
        // Whoever comes next must not take it for one that serves.
        this.#isOver = true;
        this.#settle();
        return;
      }
      if (stage === 'let go') this.#takeAway = await listenAt(this.#server, this.#options.path, 0o600);
    } catch (error) {
      this.#options.log.error({ reason: error instanceof Error ? error.message : String(error) }, 'not everything could be taken back');
    }
    this.#next = undefined;
    this.#stage = 'serving';
    this.#settle();
  }

  #settle(): void {
    for (const resolve of this.#settled) resolve();
    this.#settled.clear();
  }

  #refuse(socket: Socket, reason: string): void {
    this.#options.log.warn({ reason }, 'this agent does not hand over');
    say(socket, { type: 'refused', reason });
    socket.end();
  }

  #stopListening(): void {
    this.#takeAway();
    this.#takeAway = () => undefined;
    if (this.#server.listening) this.#server.close();
  }
}
