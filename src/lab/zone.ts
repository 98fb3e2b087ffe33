/** The names of a lab and what they mean, as CoreDNS would answer for a cluster. Pure. Source: Kubernetes DNS specification 1.1.0. */
import type { Answer, Question } from 'dns-packet';
import { endpointsOf } from './endpoints.ts';
import type { ReadyPods, ServiceEndpoint } from './endpoints.ts';
import type { LabService, World } from './world.ts';

export const CLUSTER_DOMAIN = 'cluster.local';

/** Seconds; short, because endpoints of headless Services come and go while one looks. */
const TTL_S = 5;

interface Name {
  addresses: string[];
  services: { port: number; target: string }[];
  alias?: string;
}

/** A name outside the cluster's own, from a ServiceEntry. */
export interface ExtraHost {
  host: string;
  addresses: readonly string[];
}

export interface Reply {
  /** NXDOMAIN, or an answer that may be empty (the name exists, but has no record of this type). */
  found: boolean;
  answers: Answer[];
}

/** Names (lower case, without the last dot) to their records. */
export class Zone {
  readonly #names = new Map<string, Name>();

  constructor(world: World, ready: ReadyPods, extra: readonly ExtraHost[]) {
    for (const service of world.services) this.#addService(service, world, ready);
    for (const [host, addresses] of Object.entries(world.hosts)) this.#name(host).addresses.push(...addresses);
    for (const { host, addresses } of extra) this.#name(host).addresses.push(...addresses);
  }

  /** Answer one question; a name in capitals is the same name. */
  answer(question: Pick<Question, 'name' | 'type'>): Reply {
    const name = this.#names.get(question.name.toLowerCase());
    if (name === undefined) return { found: false, answers: [] };
    return { found: true, answers: this.#records(question, name) };
  }

  #records({ name, type }: Pick<Question, 'name' | 'type'>, found: Name): Answer[] {
    if (found.alias !== undefined) {
      const target = this.#names.get(found.alias.toLowerCase());
      const rest = target === undefined || type === 'CNAME' ? [] : this.#records({ name: found.alias, type }, target);
      return [{ name, type: 'CNAME', ttl: TTL_S, data: found.alias }, ...rest];
    }
    const wanted = found.addresses.filter((address) => (type === 'A' ? !address.includes(':') : type === 'AAAA' && address.includes(':')));
    if (wanted.length > 0) return wanted.map((data) => ({ name, type: type as 'A' | 'AAAA', ttl: TTL_S, data }));
    if (type !== 'SRV') return [];
    return found.services.map(({ port, target }) => ({ name, type, ttl: TTL_S, data: { port, target, priority: 0, weight: 100 } }));
  }

  #name(host: string): Name {
    const key = host.toLowerCase();
    let name = this.#names.get(key);
    if (name === undefined) this.#names.set(key, name = { addresses: [], services: [] });
    return name;
  }

  #addService(service: LabService, world: World, ready: ReadyPods): void {
    const host = `${service.name}.${service.namespace}.svc.${CLUSTER_DOMAIN}`;
    const name = this.#name(host);
    if (service.externalName !== undefined) {
      name.alias = service.externalName;
      return;
    }
    name.addresses.push(...service.clusterIPs);
    for (const port of service.ports) {
      const label = port.name === undefined ? undefined : `_${port.name}._${port.protocol.toLowerCase()}.${host}`;
      if (service.clusterIPs.length > 0) {
        if (label !== undefined) this.#name(label).services.push({ port: port.port, target: host });
        continue;
      }
      for (const endpoint of endpointsOf(service, port, world.pods, ready)) {
        if (endpoint.ready) this.#addHeadless(service, { host, label }, endpoint);
      }
    }
  }

  /** One pod of a headless Service: its addresses under the Service's name and under its own. */
  #addHeadless(service: LabService, { host, label }: { host: string; label: string | undefined }, { pod, port }: ServiceEndpoint): void {
    const addresses = service.families.map((family) => (family === 4 ? pod.address.ipv4 : pod.address.ipv6));
    const own = pod.subdomain === service.name ? pod.hostname : pod.address.ipv4.replaceAll('.', '-');
    for (const name of [this.#name(host), this.#name(`${own}.${host}`)]) {
      for (const address of addresses) if (!name.addresses.includes(address)) name.addresses.push(address);
    }
    if (label !== undefined) this.#name(label).services.push({ port, target: `${own}.${host}` });
  }
}
