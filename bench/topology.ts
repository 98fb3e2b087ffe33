/**
 * The network every measurement stands on. One namespace holds the backend and a bridge; each client, foreign proxies'
 * and enrolled pods alike, is a namespace of its own behind one veth of that bridge, so every path has the same length:
 *
 *     client ──(lo)── proxy ──(veth, bridge)── backend        the proxy listens inside the client's namespace
 */
import { execFileSync } from 'node:child_process';

/** Every namespace is called PREFIX, the run's process id, and its role. */
export const PREFIX = 'obench';
const BRIDGE = 'br0';

export const BACKEND_ADDRESS = '10.77.0.2';

export interface Client {
  readonly netns: string;
  readonly address: string;
}

export class Topology {
  readonly backend: string = this.#name('backend');
  readonly #made: string[] = [];
  #clients = 0;

  constructor() {
    this.#add(this.backend);
    ip(this.backend, `link add ${BRIDGE} type bridge`);
    ip(this.backend, `addr add ${BACKEND_ADDRESS}/16 dev ${BRIDGE}`);
    ip(this.backend, `link set ${BRIDGE} up`);
  }

  /** A namespace with one address and its default route at the bridge, so that a connect to any service address has a route. */
  client(name: string): Client {
    const netns = this.#name(name);
    this.#add(netns);
    const number = ++this.#clients;
    const address = `10.77.1.${String(number)}`;
    ip(undefined, `link add eth0 netns ${netns} type veth peer name port${String(number)} netns ${this.backend}`);
    ip(this.backend, `link set port${String(number)} master ${BRIDGE} up`);
    ip(netns, `addr add ${address}/16 dev eth0`);
    ip(netns, 'link set eth0 up');
    ip(netns, `route add default via ${BACKEND_ADDRESS}`);
    return { netns, address };
  }

  /** A namespace with loopback only: where an agent's own ports are, so that they collide with no other agent's. */
  node(name: string): string {
    const netns = this.#name(name);
    this.#add(netns);
    return netns;
  }

  remove(): void {
    for (const netns of this.#made.splice(0).reverse()) execFileSync('ip', ['netns', 'delete', netns]);
  }

  #name(role: string): string {
    return `${PREFIX}${String(process.pid)}-${role}`;
  }

  #add(netns: string): void {
    execFileSync('ip', ['netns', 'add', netns]);
    this.#made.push(netns);
    ip(netns, 'link set lo up');
    // Tens of thousands of new connections in a few seconds must not run out of ports, nor 2,000 at once out of backlog.
    const settings = { 'ipv4/ip_local_port_range': '10000 65000', 'ipv4/tcp_tw_reuse': '1', 'core/somaxconn': '4096' };
    const script = Object.entries(settings).map(([name, value]) => `echo '${value}' >/proc/sys/net/${name}`).join(' && ');
    execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', 'sh', '-c', script]);
  }
}

function ip(netns: string | undefined, words: string): void {
  execFileSync('ip', [...(netns === undefined ? [] : ['-n', netns]), ...words.split(' ')]);
}
