/**
 * The gateways that this node serves, and the steps by which they begin and end: an identity is obtained, ports are opened, a worker serves them. The
 * listening sockets belong to this thread, as those of pods do: clients wait in the backlog while a worker is replaced, and an agent that takes over gets them.
 */
import { networkInterfaces } from 'node:os';
import { LISTEN_BACKLOG } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { gatewaysOf } from '../mesh/gateway/compile.ts';
import { KeptTables } from '../mesh/gateway/kept-tables.ts';
import { isPlacedOn, nodePorts, placementOf } from '../mesh/gateway/placement.ts';
import { sourcesOf } from '../mesh/gateway/sources.ts';
import type { Source } from '../mesh/gateway/sources.ts';
import type { GatewayId, GatewayTable } from '../mesh/gateway/table.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Inherited } from '../redirect/listeners.ts';
import { Netns } from '../sys/netns.ts';
import { closeFd, listenTcp } from '../sys/socket.ts';
import { SysError } from '../sys/sys-error.ts';
import type { SocketKeeper } from './keeper/socket-keeper.ts';
import type { GatewaySocket, ServedGateway } from './protocol.ts';

const RETRY_MS = 1_000;
/** All addresses of the node, of either family. */
const ANY = ['0.0.0.0', '::'];
const NO_FAMILY: ReadonlySet<string> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

/** The workers. */
export interface GatewayServers {
  serve(gateway: ServedGateway): void;
  forgetGateway(workload: string): void;
}

export interface GatewaysOptions {
  readonly node: string;
  /** There is no cluster, and so no Service: gateways listen on their own ports. */
  readonly standalone: boolean;
  readonly servers: GatewayServers;
  readonly identities: { keep(identities: readonly string[]): () => void };
  /** All that the gateways of this node take certificates from. */
  readonly onSources: (sources: ReadonlyMap<string, Source>) => void;
  /** Undefined: connections are refused while no agent runs. */
  readonly keeper: SocketKeeper | undefined;
  readonly log: Logger;
  /** What another agent has, or had, is to be taken over: nothing is done before {@link Gateways.resume}. */
  readonly held: boolean;
}

interface Member {
  readonly table: GatewayTable;
  /** By address and port of the node. */
  readonly sockets: Map<string, GatewaySocket>;
  readonly letGo: () => void;
  /** As the workers were told. */
  told: string;
}

interface Wanted {
  readonly id: GatewayId;
  readonly workload: string;
  readonly table: GatewayTable;
  /** Port of the node by port of the gateway. */
  readonly ports: ReadonlyMap<number, number>;
}

export class Gateways {
  readonly #options: GatewaysOptions;
  readonly #members = new Map<string, Member>();
  readonly #tables = new KeptTables();
  /** What keeps ports from being opened, by gateway and port. */
  readonly #failures = new Map<string, string>();
  #mode: 'following' | 'held' | 'gone';
  #inherited: Inherited = () => undefined;
  #snapshot: Snapshot | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor(options: GatewaysOptions) {
    this.#options = options;
    this.#mode = options.held ? 'held' : 'following';
  }

  /** Bring the gateways in line with a snapshot that the workers have already been given. */
  apply(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    clearTimeout(this.#retry);
    if (this.#mode !== 'following') return;
    const wanted = this.#wanted(snapshot);
    this.#options.onSources(new Map([...wanted.values()].flatMap(({ table }) => [...sourcesOf(table)])));
    for (const workload of this.#members.keys()) if (!wanted.has(workload)) this.#leave(workload);
    const before = new Map(this.#failures);
    this.#failures.clear();
    const taken = new Map<number, string>();
    for (const one of wanted.values()) this.#join(one, taken);
    for (const [place, reason] of this.#failures) if (before.get(place) !== reason) this.#options.log.error({ gateway: place, reason }, 'a port of a gateway could not be opened; tried again every second');
    if (this.#failures.size > 0) this.#retry = setTimeout(() => this.apply(snapshot), RETRY_MS).unref();
  }

  /** Every gateway of this node, with the ports that are open, and why others are not. */
  states(): { gateway: string; identity: string; ports: readonly string[]; failures: readonly string[] }[] {
    return [...this.#members].map(([workload, { table, sockets }]) => ({
      gateway: workload,
      identity: table.identity,
      ports: [...sockets].map(([place, { port }]) => `${port} on ${place}`),
      failures: [...this.#failures].filter(([place]) => place.startsWith(`${workload}:`)).map(([place, reason]) => `${place}: ${reason}`),
    }));
  }

  /** From now on nothing begins or ends: another agent takes over. Its listening sockets. */
  hold(): number[] {
    this.#mode = 'held';
    return this.#fds();
  }

  /** Follow the configuration, from the newest on, with sockets that an agent before has passed on. */
  resume(inherited: Inherited = () => undefined): void {
    this.#inherited = inherited;
    // Another agent had them: they are opened again.
    if (this.#mode === 'gone') for (const [workload, { letGo }] of this.#members) {
      letGo();
      this.#members.delete(workload);
    }
    this.#mode = 'following';
    if (this.#snapshot !== undefined) this.apply(this.#snapshot);
  }

  /** Another agent accepts: what is left here are connections. */
  letGo(): void {
    this.closeListeners();
    this.#mode = 'gone';
  }

  closeListeners(): void {
    clearTimeout(this.#retry);
    for (const [workload, { sockets }] of this.#members) {
      for (const [place, { fd }] of sockets) this.#close(workload, place, fd);
      sockets.clear();
    }
  }

  #wanted(snapshot: Snapshot): Map<string, Wanted> {
    const { node, standalone, log } = this.#options;
    const wanted = new Map<string, Wanted>();
    for (const id of gatewaysOf(snapshot)) {
      const placement = placementOf(id, snapshot, standalone);
      if (!isPlacedOn(placement, snapshot.nodeLabels[node])) continue;
      try {
        const table = this.#tables.of(snapshot, id);
        if (table === undefined) continue;
        const workload = `${id.namespace}/${table.serviceAccount}`;
        wanted.set(workload, { id, workload, table, ports: nodePorts(placement, id.namespace, table.serviceAccount, table.ports.keys(), snapshot) });
      } catch (error) {
        log.error({ err: error, gateway: `${id.namespace}/${id.name}` }, 'the configuration of a gateway does not compile; it stays as it is');
      }
    }
    return wanted;
  }

  /** `taken`: ports of the node, and the gateway that has each. */
  #join({ id, workload, table, ports }: Wanted, taken: Map<number, string>): void {
    const known = this.#members.get(workload);
    const member: Member = known ?? { table, sockets: new Map(), letGo: this.#options.identities.keep([table.identity]), told: '' };
    this.#members.set(workload, { ...member, table });
    const places = new Map<string, { address: string; nodePort: number; port: number }>();
    for (const [port, nodePort] of ports) {
      const other = taken.get(nodePort);
      if (other !== undefined) this.#failures.set(`${workload}:${port}`, `port ${nodePort} of the node belongs to gateway ${other}`);
      else for (const address of ANY) places.set(`${address}:${nodePort}`, { address, nodePort, port });
      taken.set(nodePort, other ?? workload);
    }
    const gone = [...member.sockets].filter(([place, { port }]) => places.get(place)?.port !== port);
    for (const [place] of gone) {
      member.sockets.delete(place);
      // Before another socket is kept for the same place.
      this.#options.keeper?.forget(keptName(workload, place));
    }
    for (const [place, { address, nodePort, port }] of places) if (!member.sockets.has(place)) this.#open(workload, member, place, { address, nodePort, port });
    this.#tell({ id, workload, baggage: baggageOf(id, table), addresses: addressesOf(this.#options.node, this.#snapshot), sockets: [...member.sockets.values()] });
    // The workers have their own, and close them by themselves.
    for (const [, { fd }] of gone) closeFd(fd);
  }

  #open(workload: string, { sockets }: Member, place: string, { address, nodePort, port }: { address: string; nodePort: number; port: number }): void {
    try {
      using own = Netns.open('/proc/self/ns/net');
      const fd = this.#inherited({ cookie: own.cookie, address, port: nodePort }) ?? listenTcp({ address, port: nodePort, backlog: LISTEN_BACKLOG, reusePort: true, v6only: true });
      sockets.set(place, { fd, port, nodePort });
      this.#options.keeper?.keep(keptName(workload, place), [fd]);
    } catch (error) {
      // A node may have one family only.
      if (error instanceof SysError && NO_FAMILY.has(error.code)) return;
      this.#failures.set(`${workload}:${port}`, error instanceof Error ? error.message : String(error));
    }
  }

  #tell(gateway: ServedGateway): void {
    const member = this.#members.get(gateway.workload);
    const told = JSON.stringify(gateway);
    if (member === undefined || member.told === told) return;
    member.told = told;
    this.#options.servers.serve(gateway);
  }

  #leave(workload: string): void {
    const member = this.#members.get(workload);
    if (member === undefined) return;
    this.#members.delete(workload);
    this.#options.servers.forgetGateway(workload);
    member.letGo();
    for (const [place, { fd }] of member.sockets) this.#close(workload, place, fd);
    this.#options.log.info({ gateway: workload }, 'gateway left');
  }

  #close(workload: string, place: string, fd: number): void {
    this.#options.keeper?.forget(keptName(workload, place));
    closeFd(fd);
  }

  #fds(): number[] {
    return [...this.#members.values()].flatMap(({ sockets }) => [...sockets.values()].map(({ fd }) => fd));
  }
}

/** Not that of any pod. */
function keptName(workload: string, place: string): string {
  return `gateway ${workload} ${place}`;
}

/** Of the node: those of its pods that have no network of their own, else those of its interfaces. */
function addressesOf(node: string, snapshot: Snapshot | undefined): readonly string[] {
  const onNode = snapshot?.workloads.find((workload) => workload.node === node && workload.hostNetwork && workload.addresses.length > 0);
  return onNode?.addresses ?? Object.values(networkInterfaces()).flatMap((found) => found ?? []).filter(({ internal, scopeid = 0 }) => !internal && scopeid === 0).map(({ address }) => address);
}

/** What servers of tunnels learn of it besides its identity, in the words that pods have. */
function baggageOf({ namespace }: GatewayId, { serviceAccount }: GatewayTable): string {
  const entries = [['k8s.namespace.name', namespace], ['k8s.deployment.name', serviceAccount], ['service.name', serviceAccount], ['service.version', 'latest']];
  return entries.map(([key, value = '']) => `${key}=${encodeURIComponent(value)}`).join(',');
}
