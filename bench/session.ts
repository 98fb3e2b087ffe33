/** The measurements in their order: peers up and warm, the cases in interleaved rounds, then those that need agents of their own. */
import type { Measured, Peer } from './bench.ts';
import { bulkCase } from './cases/bulk.ts';
import type { Case, Sample } from './cases/case.ts';
import { latencyCase } from './cases/latency.ts';
import { memoryCase } from './cases/memory.ts';
import { podsCase } from './cases/pods.ts';
import { keepAliveCase, newConnectionsCase, routesCase } from './cases/requests.ts';
import { runWrk } from './load/wrk.ts';
import { direct, startForeign } from './peers/foreign.ts';
import { startOrlop, type OrlopOptions } from './peers/orlop.ts';
import type { PeerName, Plan } from './plan.ts';
import { caseResult, type CaseResult } from './results.ts';
import { waitUntilServing } from './serving.ts';
import { ORLOP, ORLOP_PODS, ORLOP_ROUTES } from './targets.ts';
import type { Client } from './topology.ts';

const PODS = 20;
const ROUTES = 1000;

/** V8 compiles a proxy's hot path within the first seconds of load; a long-running proxy is measured, not its start. */
const WARM_UP = { connections: 64, seconds: 2, close: false };

export class Session {
  readonly cases: CaseResult[] = [];
  readonly problems: string[] = [];
  /** How each peer is configured. */
  readonly notes: Record<string, string> = {};

  readonly #plan: Plan;
  readonly #bench: Measured;
  readonly #say: (line: string) => void;

  constructor(plan: Plan, bench: Measured, say: (line: string) => void) {
    this.#plan = plan;
    this.#bench = bench;
    this.#say = say;
  }

  /** Rejects when the run is interrupted; whatever else fails is among `problems`. */
  async run(): Promise<void> {
    const peers = await this.#startPeers();
    for (const measured of this.#sharedCases()) await this.#runCase(measured, peers);
    const orlop = peers.find((peer) => peer.name === ORLOP);
    if (orlop === undefined) return;
    if (this.#plan.cases.includes('routes')) await this.#runRoutes(orlop);
    if (this.#plan.cases.includes('pods')) await this.#runPods();
  }

  #sharedCases(): Case[] {
    const { rounds, fewerRounds, seconds, bulkGib, latencySeconds, cases } = this.#plan;
    const all = [
      // First, since the garbage of the cases under load would hide what a connection adds to a heap.
      memoryCase(),
      keepAliveCase(rounds, seconds),
      newConnectionsCase(fewerRounds, seconds),
      bulkCase('upload', fewerRounds, bulkGib),
      bulkCase('download', fewerRounds, bulkGib),
      latencyCase(fewerRounds, latencySeconds),
    ];
    return all.filter((measured) => cases.some((name) => name === measured.key));
  }

  async #startPeers(): Promise<Peer[]> {
    const client = this.#bench.topology.client('client');
    const peers: Peer[] = [];
    for (const name of this.#plan.peers) {
      const peer = await this.#attempt(`starting ${name}`, () => this.#startPeer(name, client));
      if (peer === undefined) continue;
      this.notes[peer.name] = peer.note;
      peers.push(peer);
    }
    return peers;
  }

  async #startPeer(name: PeerName, client: Client): Promise<Peer> {
    if (name === 'direct') return direct(client);
    if (name !== 'orlop') return this.#warm(await startForeign(this.#bench, client, name));
    return this.#warm(await startOrlop(this.#bench, { name: ORLOP, clients: [this.#bench.topology.client('pod')], services: 1 }));
  }

  async #warm<P extends Peer>(peer: P): Promise<P> {
    await runWrk(this.#bench, peer, WARM_UP);
    return peer;
  }

  /** Both agents run at the same time and take turns, so that the pair shares whatever the machine does meanwhile. */
  async #runRoutes(orlop: Peer): Promise<void> {
    const clients = [this.#bench.topology.client('routes')];
    await this.#withAgent({ name: ORLOP_ROUTES, clients, services: ROUTES }, async (agent) => {
      await this.#warm(agent);
      await this.#runCase(routesCase(this.#plan.rounds, this.#plan.seconds, ORLOP), [orlop, agent]);
    });
  }

  async #runPods(): Promise<void> {
    const clients = Array.from({ length: PODS }, (_, index) => this.#bench.topology.client(`pod${String(index)}`));
    await this.#withAgent({ name: ORLOP_PODS, clients, services: 1 }, async (agent) => {
      await this.#runCase(podsCase(clients.map((client) => client.netns)), [agent]);
    });
  }

  async #withAgent(options: OrlopOptions, use: (agent: Peer) => Promise<void>): Promise<void> {
    await this.#attempt(`measuring ${options.name}`, async () => {
      const agent = await startOrlop(this.#bench, options);
      this.notes[agent.name] = agent.note;
      await use(agent);
      await this.#bench.processes.stop(agent.pid);
    });
  }

  async #runCase(measured: Case, peers: readonly Peer[]): Promise<void> {
    const able = measured.needsProcess === true ? peers.filter((peer) => peer.pid !== undefined) : peers;
    const samples = new Map(able.map((peer) => [peer.name, [] as Sample[]]));
    for (let round = 1; round <= measured.rounds; round++) {
      this.#say(`${measured.key}: round ${String(round)} of ${String(measured.rounds)}`);
      for (const peer of able) {
        const place = `${measured.key}, ${peer.name}, round ${String(round)}`;
        const sample = await this.#attempt(place, () => measured.measure(this.#bench, peer));
        if (sample === undefined) continue;
        samples.get(peer.name)!.push(sample);
        for (const problem of sample.problems) this.#problem(`${place}: ${problem}`);
      }
    }
    for (const peer of able) await this.#attempt(`after ${measured.key}`, () => waitUntilServing(this.#bench, peer));
    this.cases.push(caseResult(measured, able.map((peer) => ({ peer: peer.name, rounds: samples.get(peer.name)! }))));
  }

  /** One peer's failure spoils the run's verdict, not the figures of the others; an interruption ends them all. */
  async #attempt<T>(what: string, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      if (this.#bench.processes.closed) throw error;
      this.#problem(`${what}: ${(error as Error).message}`);
      return undefined;
    }
  }

  #problem(text: string): void {
    this.problems.push(text);
    this.#say(`problem: ${text}`);
  }
}
