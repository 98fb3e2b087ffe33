/** The measurements in their order: peers up and warm, the cases in interleaved rounds, then those that need agents of their own. */
import { Backend } from './backend.ts';
import type { Bench, Peer } from './bench.ts';
import { bulkCase, mutualTlsBulkCase } from './cases/bulk.ts';
import type { Case, Sample } from './cases/case.ts';
import { latencyCase } from './cases/latency.ts';
import { memoryCase } from './cases/memory.ts';
import { podsCase } from './cases/pods.ts';
import { keepAliveCase, mutualTlsCase, newConnectionsCase, newTunnelsCase, routesCase } from './cases/requests.ts';
import { runWrk } from './load/wrk.ts';
import { makeCertificates } from './pairs/certificates.ts';
import { startForeignPair } from './pairs/foreign.ts';
import { startOrlopPair } from './pairs/orlop.ts';
import type { Site } from './pairs/site.ts';
import { direct, startForeign } from './peers/foreign.ts';
import { startOrlop, type OrlopOptions } from './peers/orlop.ts';
import type { PeerName, Plan } from './plan.ts';
import { caseResult, type CaseResult } from './results.ts';
import { waitUntilServing } from './serving.ts';
import { ORLOP, ORLOP_PAIR, ORLOP_PODS, ORLOP_ROUTES } from './targets.ts';
import { BACKEND_ADDRESS, type Client } from './topology.ts';

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
  readonly #bench: Bench;
  readonly #say: (line: string) => void;

  constructor(plan: Plan, bench: Bench, say: (line: string) => void) {
    this.#plan = plan;
    this.#bench = bench;
    this.#say = say;
  }

  /** Rejects when the run is interrupted; whatever else fails is among `problems`. */
  async run(): Promise<void> {
    if (this.#plan.peers.length > 0) await this.#runPeers();
    if (this.#plan.pairs.length > 0) await this.#runPairs();
  }

  async #runPeers(): Promise<void> {
    const backend = await Backend.start(this.#bench, { netns: this.#bench.topology.backend, address: BACKEND_ADDRESS });
    const client = this.#bench.topology.client('client');
    const peers = await this.#startAll(this.#plan.peers, (name) => this.#startPeer(name, client, backend));
    await this.#runCases(this.#peerCases(), peers);
    const orlop = peers.find((peer) => peer.name === ORLOP);
    if (orlop === undefined) return;
    if (this.#plan.cases.includes('routes')) await this.#runRoutes(orlop);
    if (this.#plan.cases.includes('pods')) await this.#runPods(backend);
  }

  #peerCases(): Case[] {
    const { rounds, fewerRounds, seconds, bulkGib, latencySeconds } = this.#plan;
    return [
      // First, since the garbage of the cases under load would hide what a connection adds to a heap.
      memoryCase(),
      keepAliveCase(rounds, seconds),
      newConnectionsCase(fewerRounds, seconds),
      bulkCase('upload', fewerRounds, bulkGib),
      bulkCase('download', fewerRounds, bulkGib),
      latencyCase(fewerRounds, latencySeconds),
    ];
  }

  async #startPeer(name: PeerName, client: Client, backend: Backend): Promise<Peer> {
    if (name === 'direct') return direct(client, backend);
    if (name !== 'orlop') return startForeign(this.#bench, client, backend, name);
    return startOrlop(this.#bench, { name: ORLOP, clients: [this.#bench.topology.client('pod')], backend, services: 1 });
  }

  async #runPairs(): Promise<void> {
    const { topology } = this.#bench;
    const certificates = makeCertificates(this.#bench.dir);
    // Enrolled pods have namespaces of their own: an agent would capture what a foreign proxy says there.
    const site = async (near: string, far: string): Promise<Site> => ({
      client: topology.client(near),
      backend: await Backend.start(this.#bench, topology.client(far)),
      outsider: topology.client(`${near}-outsider`),
      certificates,
    });
    const foreign = await site('near', 'far');
    const enrolled = await site('near-pod', 'far-pod');
    const pairs = await this.#startAll(this.#plan.pairs, (name) =>
      name === ORLOP_PAIR ? startOrlopPair(this.#bench, enrolled) : startForeignPair(this.#bench, foreign, name));
    const { rounds, fewerRounds, seconds, bulkGib } = this.#plan;
    await this.#runCases([
      mutualTlsCase(rounds, seconds),
      newTunnelsCase(rounds, seconds),
      mutualTlsBulkCase('upload', fewerRounds, bulkGib),
      mutualTlsBulkCase('download', fewerRounds, bulkGib),
    ], pairs);
  }

  /** Those that start, warm. */
  async #startAll<Name extends string>(names: readonly Name[], start: (name: Name) => Promise<Peer>): Promise<Peer[]> {
    const peers: Peer[] = [];
    for (const name of names) {
      const peer = await this.#attempt(`starting ${name}`, async () => this.#warm(await start(name)));
      if (peer === undefined) continue;
      this.notes[peer.name] = peer.note;
      peers.push(peer);
    }
    return peers;
  }

  async #runCases(all: readonly Case[], peers: readonly Peer[]): Promise<void> {
    for (const measured of all) {
      if (this.#plan.cases.some((name) => name === measured.key)) await this.#runCase(measured, peers);
    }
  }

  async #warm(peer: Peer): Promise<Peer> {
    await runWrk(this.#bench, peer, WARM_UP);
    if (peer.tunnelEnd !== undefined) await runWrk(this.#bench, { ...peer, ...peer.tunnelEnd }, { ...WARM_UP, close: true });
    return peer;
  }

  /** Both agents run at the same time and take turns, so that the pair shares whatever the machine does meanwhile. */
  async #runRoutes(orlop: Peer): Promise<void> {
    const clients = [this.#bench.topology.client('routes')];
    await this.#withAgent({ name: ORLOP_ROUTES, clients, backend: orlop.backend, services: ROUTES }, async (agent) => {
      await this.#warm(agent);
      await this.#runCase(routesCase(this.#plan.rounds, this.#plan.seconds, ORLOP), [orlop, agent]);
    });
  }

  async #runPods(backend: Backend): Promise<void> {
    const clients = Array.from({ length: PODS }, (_, index) => this.#bench.topology.client(`pod${String(index)}`));
    await this.#withAgent({ name: ORLOP_PODS, clients, backend, services: 1 }, async (agent) => {
      await this.#runCase(podsCase(clients.map((client) => client.netns)), [agent]);
    });
  }

  async #withAgent(options: OrlopOptions, use: (agent: Peer) => Promise<void>): Promise<void> {
    await this.#attempt(`measuring ${options.name}`, async () => {
      const agent = await startOrlop(this.#bench, options);
      this.notes[agent.name] = agent.note;
      await use(agent);
      for (const pid of agent.pids) await this.#bench.processes.stop(pid);
    });
  }

  async #runCase(measured: Case, peers: readonly Peer[]): Promise<void> {
    const able = peers.filter((peer) => measured.fits?.(peer) ?? true);
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
