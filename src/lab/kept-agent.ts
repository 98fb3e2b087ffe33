/** An agent with the keeper of its listening sockets beside it, as in a pod of the DaemonSet. Each is started again when it ends; a signal is for the agent. */
import { join } from 'node:path';
import { CHECKOUT } from './checkout.ts';
import { inCgroup } from './enter.ts';
import { Supervised } from './supervised.ts';
import type { SupervisedOptions } from './supervised.ts';

const KEEPER = join(CHECKOUT, 'keeper/orlop-keeper');
const KEEPER_GRACE_MS = 1_000;

export interface KeptAgentOptions {
  readonly agent: SupervisedOptions;
  /** Of both. */
  readonly cgroup: string;
  /** Where the keeper listens. */
  readonly keeperPath: string;
}

export class KeptAgent {
  readonly #agent: Supervised;
  readonly #keeper: Supervised;

  constructor({ agent, cgroup, keeperPath }: KeptAgentOptions) {
    this.#agent = new Supervised({ ...agent, argv: inCgroup(cgroup, [...agent.argv, '--keeper', keeperPath]) });
    this.#keeper = new Supervised({ ...agent, argv: inCgroup(cgroup, [KEEPER, keeperPath]), onChange: () => undefined });
  }

  start(): void {
    this.#keeper.start();
    this.#agent.start();
  }

  get running(): boolean {
    return this.#agent.running;
  }

  get pid(): number | undefined {
    return this.#agent.pid;
  }

  get restarts(): number {
    return this.#agent.restarts;
  }

  signal(name: NodeJS.Signals): void {
    this.#agent.signal(name);
  }

  /** The agent first, as the kubelet ends a pod with a sidecar. */
  async stop(graceMs: number): Promise<void> {
    await this.#agent.stop(graceMs);
    await this.#keeper.stop(KEEPER_GRACE_MS);
  }
}
