/**
 * The CA of a lab's mesh: `orlop control` in the namespace between the nodes. Its keys are in a file without a name that the
 * supervisor holds, so that a control which is killed comes back as the same CA, and no key is ever on a disk.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { memoryFile } from '../sys/memfd.ts';
import { Netns } from '../sys/netns.ts';
import { fabricAddress } from './addresses.ts';
import { makeCgroup } from './cgroup.ts';
import { baseEnvironment, CHECKOUT, ORLOP } from './checkout.ts';
import { sleep } from './command.ts';
import { inCgroup } from './enter.ts';
import { LabError } from './lab-error.ts';
import { NETNS_DIRECTORY } from './names.ts';
import type { LabPaths } from './names.ts';
import type { ProcessAction } from './status.ts';
import { Supervised } from './supervised.ts';
import type { World } from './world.ts';

const CA_PORT = 15012;
const START_TIMEOUT_MS = 15_000;
const STOP_GRACE_MS = 2_000;
const POLL_MS = 25;
const TOKEN_BYTES = 32;
/** The descriptor that the control finds the keys' file at. */
const STORE_FD = 3;
/** Of `orlop control`: its CA is one of the user's, and keeps no keys of its own. */
const GIVEN_CA = '--ca-cert';

export class MeshControl {
  readonly #world: World;
  readonly #paths: LabPaths;
  readonly #netns: Netns;
  readonly #store: number;
  readonly #process: Supervised;
  #stopped = true;

  constructor(world: World, paths: LabPaths) {
    this.#world = world;
    this.#paths = paths;
    this.#netns = Netns.open(`${NETNS_DIRECTORY}/${world.fabricNetns}`);
    this.#store = memoryFile(`orlop-lab-ca ${world.name}`);
    mkdirSync(paths.caDirectory, { recursive: true });
    this.#writeTokens();
    const { lifetime, args } = world.control;
    const argv = [
      ORLOP, 'control', '--config', paths.config, '--node-tokens', `${paths.caDirectory}/tokens`, '--listen', this.#listen, '--roots-out', paths.roots,
      '--run-dir', paths.caDirectory, ...(args.includes(GIVEN_CA) ? [] : ['--ca-store-fd', String(STORE_FD)]), '--certificate-lifetime', lifetime, ...args,
    ];
    this.#process = new Supervised({
      argv: inCgroup(makeCgroup(world.name, 'control'), argv),
      env: baseEnvironment(),
      cwd: CHECKOUT,
      logPath: paths.controlLog,
      netns: this.#netns,
      inherited: [this.#store],
      onChange: () => undefined,
    });
  }

  start(): void {
    this.#stopped = false;
    this.#process.start();
  }

  /** Resolves when agents can ask it. */
  async ready(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!existsSync(this.#paths.roots)) {
      if (Date.now() > deadline) throw new LabError(`the lab's CA did not start; see ${this.#paths.controlLog}`);
      await sleep(POLL_MS);
    }
  }

  /** What an agent is told, so that it asks this CA. */
  agentArgs(node: string): string[] {
    return ['--ca-address', this.#listen, '--ca-roots', this.#paths.roots, '--ca-token', this.#tokenPath(node), '--certificate-lifetime', this.#world.control.lifetime];
  }

  async act(action: ProcessAction): Promise<void> {
    if (action === 'kill') this.#process.signal('SIGKILL');
    if (action === 'stop' || action === 'restart') await this.stop();
    if (action === 'restart' || (action === 'start' && this.#stopped)) this.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#process.stop(STOP_GRACE_MS);
  }

  close(): void {
    this.#netns.close();
    closeSync(this.#store);
  }

  get #listen(): string {
    return `${fabricAddress(this.#world.number).ipv4}:${CA_PORT}`;
  }

  #tokenPath(node: string): string {
    return `${this.#paths.caDirectory}/${node}.token`;
  }

  #writeTokens(): void {
    const tokens = this.#world.nodes.map(({ name }) => ({ name, token: randomBytes(TOKEN_BYTES).toString('hex') }));
    writeFileSync(`${this.#paths.caDirectory}/tokens`, tokens.map(({ name, token }) => `${token},${name}\n`).join(''), { mode: 0o600 });
    for (const { name, token } of tokens) writeFileSync(this.#tokenPath(name), token, { mode: 0o600 });
  }
}
