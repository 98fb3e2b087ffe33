/**
 * The keepers of a node: the one beside this agent, and those of agents before and after it, in one directory. Whoever begins to serve without another agent takes up
 * what any of them has, and has the others close their copies: beside the sockets of an agent that serves, they would be given clients whom nobody accepts.
 */
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from '../../core/log.ts';
import { SysError } from '../../sys/sys-error.ts';
import { PlacedSockets } from '../placed-sockets.ts';
import { KeeperConnection } from './connection.ts';
import { SocketKeeper } from './socket-keeper.ts';

const SUFFIX = '.sock';
/** There are two during an upgrade, and names that were left behind. */
const OTHERS_MAX = 64;

export interface KeepersOptions {
  /** Of the socket of the keeper beside this agent; undefined: there is none. */
  readonly path: string | undefined;
  readonly log: Logger;
}

export class Keepers {
  /** Beside this agent. */
  readonly own: SocketKeeper | undefined;
  readonly #options: KeepersOptions;

  constructor(options: KeepersOptions) {
    this.#options = options;
    this.own = options.path === undefined ? undefined : new SocketKeeper({ path: options.path, log: options.log });
  }

  /** Copies of what all of them have. They are closed by {@link PlacedSockets.close}, and where they were kept by {@link settle}. */
  async take(): Promise<PlacedSockets> {
    const fds = await this.own?.take() ?? [];
    for (const path of this.#others()) {
      await this.#with(path, async (keeper) => {
        const taken = await keeper.take();
        fds.push(...taken.fds);
        if (taken.fault !== undefined) this.#options.log.warn({ path, reason: taken.fault }, 'not all listening sockets of an agent before could be taken up');
      });
    }
    return new PlacedSockets(fds);
  }

  /** This agent has taken up what it could use: the rest is closed. */
  async settle(): Promise<void> {
    this.own?.settle();
    for (const path of this.#others()) await this.#with(path, (keeper) => keeper.clear());
  }

  /** Sockets only: whatever else somebody has put into the directory is not asked. */
  #others(): string[] {
    const { path } = this.#options;
    if (path === undefined) return [];
    const directory = dirname(path);
    return entriesOf(directory).filter((name) => name.endsWith(SUFFIX)).map((name) => join(directory, name)).filter((other) => other !== path && inodeOf(other) !== undefined).slice(0, OTHERS_MAX);
  }

  /** Never throws: an agent serves without keepers too. */
  async #with(path: string, use: (keeper: KeeperConnection) => unknown): Promise<void> {
    const inode = inodeOf(path);
    let keeper: KeeperConnection | undefined;
    try {
      keeper = KeeperConnection.open(path);
      await use(keeper);
    } catch (error) {
      if (error instanceof SysError && error.code === 'ECONNREFUSED') this.#remove(path, inode);
      else if (!(error instanceof SysError) || error.code !== 'ENOENT') this.#warn(path, error);
    } finally {
      keeper?.close();
    }
  }

  /** The name of a keeper that was killed together with its agent; not that of one that has begun meanwhile. */
  #remove(path: string, inode: bigint | undefined): void {
    try {
      if (inodeOf(path) === inode) rmSync(path);
    } catch (error) {
      this.#warn(path, error);
    }
  }

  #warn(path: string, error: unknown): void {
    this.#options.log.warn({ path, reason: error instanceof Error ? error.message : String(error) }, 'a keeper of listening sockets could not be asked');
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Of a socket; undefined for anything else. */
function inodeOf(path: string): bigint | undefined {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found?.isSocket() === true ? found.ino : undefined;
}
