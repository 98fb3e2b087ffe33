/**
 * The keeper beside this agent (keeper/orlop-keeper.c), which has a copy of each listening socket: should this agent be killed, clients wait in
 * them for the next one instead of being refused. While the keeper is away its place is looked at again and again.
 */
import type { Logger } from '../../core/log.ts';
import { KeeperConnection } from './connection.ts';

const TEND_MS = 1_000;
/** For a keeper that has not taken all that it was sent at once. */
const BUSY_MS = 10;

export interface SocketKeeperOptions {
  /** Of its socket. */
  readonly path: string;
  readonly log: Logger;
}

export class SocketKeeper {
  readonly #options: SocketKeeperOptions;
  readonly #wanted = new Map<string, readonly number[]>();
  /** Names of which it is to be told. */
  readonly #due = new Set<string>();
  #connection: KeeperConnection | undefined;
  /** What an agent before had is taken up, or closed. */
  #isSettled = false;
  #owesSettling = false;
  #isTaking = false;
  readonly #tending: NodeJS.Timeout;
  #busy: NodeJS.Timeout | undefined;
  #missing: string | undefined;
  #isTold = false;

  constructor(options: SocketKeeperOptions) {
    this.#options = options;
    this.#connect();
    this.#tending = setInterval(() => this.#tend(), TEND_MS).unref();
  }

  /** Why it keeps nothing just now. */
  get missing(): string | undefined {
    return this.#missing;
  }

  /** Copies of what it has; they are the caller's. */
  async take(): Promise<number[]> {
    const connection = this.#connection;
    if (connection === undefined) return [];
    this.#isTaking = true;
    const { fds, fault } = await connection.take();
    this.#isTaking = false;
    if (fault !== undefined) this.#lose(fault);
    return fds;
  }

  /** Keep copies of `fds`, which stay the caller's and stay open until they are kept no more, in the place of those of that name. */
  keep(name: string, fds: readonly number[]): void {
    this.#wanted.set(name, fds);
    this.#due.add(name);
    this.#tell();
  }

  forget(name: string): void {
    this.#wanted.delete(name);
    this.#due.add(name);
    this.#tell();
  }

  /** What an agent before had, and this one does not keep, is closed. */
  settle(): void {
    this.#isSettled = true;
    this.#owesSettling = true;
    this.#tell();
  }

  /** This agent ends; `keep`: another one will come, and clients wait for it. */
  close({ keep }: { readonly keep: boolean }): void {
    clearInterval(this.#tending);
    clearTimeout(this.#busy);
    try {
      if (!keep) this.#connection?.clear();
    } catch {
      // Then it has nothing any more.
    }
    this.#connection?.close();
    this.#connection = undefined;
  }

  #connect(): void {
    try {
      this.#connection = KeeperConnection.open(this.#options.path);
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.#isTold) this.#options.log.info({ path: this.#options.path }, 'the keeper of listening sockets is there again');
    this.#missing = undefined;
    this.#isTold = false;
    // One that was started again has nothing; another one may not have heard all.
    for (const name of this.#wanted.keys()) this.#due.add(name);
    this.#owesSettling = this.#isSettled;
    this.#tell();
  }

  #lose(reason: string): void {
    this.#connection?.close();
    this.#connection = undefined;
    this.#missing = reason;
    this.#warn();
  }

  /** Once, and where there is something to be kept. */
  #warn(): void {
    if (this.#missing === undefined || this.#isTold || this.#wanted.size === 0) return;
    this.#isTold = true;
    this.#options.log.warn({ path: this.#options.path, reason: this.#missing }, 'there is no keeper of listening sockets; should this agent be killed, connections are refused until the next one runs');
  }

  #tend(): void {
    if (this.#isTaking) return;
    try {
      this.#connection?.check();
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
    }
    if (this.#connection === undefined) this.#connect();
  }

  #tell(): void {
    clearTimeout(this.#busy);
    const connection = this.#connection;
    this.#warn();
    if (connection === undefined) return;
    try {
      if (!this.#hasToldAll(connection)) this.#busy = setTimeout(() => this.#tell(), BUSY_MS).unref();
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
    }
  }

  /** False: the keeper has not taken all of it yet. */
  #hasToldAll(connection: KeeperConnection): boolean {
    for (const name of this.#due) {
      const fds = this.#wanted.get(name);
      if (!(fds === undefined ? connection.forget(name) : connection.keep(name, fds))) return false;
      this.#due.delete(name);
    }
    if (this.#owesSettling && !connection.settle()) return false;
    this.#owesSettling = false;
    return true;
  }
}
