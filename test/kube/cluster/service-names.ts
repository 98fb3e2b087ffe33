/** Names of Services and of the pods behind headless ones, from the API server, as CoreDNS answers them (Kubernetes DNS specification 1.1.0). */
import type { V1Endpoint, V1Service } from '@kubernetes/client-node';
import type { Answer, Question } from 'dns-packet';
import type { Reply } from '../../../src/lab/zone.ts';
import { CLUSTER_DOMAIN } from './names.ts';
import type { Services } from './services.ts';

const TTL_S = 5;
const SUFFIX = `.svc.${CLUSTER_DOMAIN}`;

/** A record without its name and time to live. */
type Data = { type: 'A' | 'AAAA'; data: string } | { type: 'SRV'; data: { port: number; target: string; priority: number; weight: number } } | { type: 'CNAME'; data: string };

export class ServiceNames {
  readonly #services: Services;

  constructor(services: Services) {
    this.#services = services;
  }

  /** Answer one question; a name in capitals is the same name. */
  answer({ name, type }: Pick<Question, 'name' | 'type'>): Reply {
    const records = this.#records(name.toLowerCase());
    if (records === undefined) return { found: false, answers: [] };
    const answers = records.filter((record) => record.type === type || record.type === 'CNAME').map((record): Answer => ({ name, ttl: TTL_S, ...record }));
    return { found: true, answers };
  }

  /** Everything under a name; undefined when there is no such name. */
  #records(host: string): Data[] | undefined {
    if (!host.endsWith(SUFFIX)) return undefined;
    const labels = host.slice(0, -SUFFIX.length).split('.');
    const [namespace = '', name = '', ...front] = labels.reverse();
    const service = this.#services.get(namespace, name);
    if (service?.spec === undefined) return undefined;
    const target = `${name}.${namespace}${SUFFIX}`;
    if (service.spec.externalName !== undefined) return front.length === 0 ? [{ type: 'CNAME', data: service.spec.externalName }] : undefined;
    const own = front.reverse().join('.');
    const records = service.spec.clusterIP === 'None' ? this.#headless(service, target, own) : clusterAddresses(service, target, own);
    return own === '' || records.length > 0 ? records : undefined;
  }

  /** Of a Service without an address: those of its pods, under its own name and under theirs. */
  #headless(service: V1Service, target: string, own: string): Data[] {
    const evenNotReady = service.spec?.publishNotReadyAddresses === true;
    const records: Data[] = [];
    for (const slice of this.#services.slicesOf(service)) {
      for (const endpoint of slice.endpoints ?? []) {
        if (!evenNotReady && endpoint.conditions?.ready === false) continue;
        const hostname = hostnameOf(endpoint);
        if (own === '' || own === hostname) for (const address of endpoint.addresses) records.push(addressRecord(address));
        for (const { name, protocol, port } of slice.ports ?? []) {
          if (own === serviceLabel(name, protocol)) records.push(serviceRecord(port ?? 0, `${hostname}.${target}`));
        }
      }
    }
    return records;
  }
}

function clusterAddresses({ spec }: V1Service, target: string, own: string): Data[] {
  if (own === '') return (spec?.clusterIPs ?? []).map(addressRecord);
  return (spec?.ports ?? []).filter(({ name, protocol }) => own === serviceLabel(name, protocol)).map(({ port }) => serviceRecord(port, target));
}

/** _http._tcp; a port without a name has none. */
function serviceLabel(name = '', protocol = 'TCP'): string | undefined {
  return name === '' ? undefined : `_${name}._${protocol}`.toLowerCase();
}

function hostnameOf({ hostname, addresses }: V1Endpoint): string {
  return hostname ?? (addresses[0] ?? '').replaceAll(/[.:]/g, '-');
}

function addressRecord(address: string): Data {
  return { type: address.includes(':') ? 'AAAA' : 'A', data: address };
}

function serviceRecord(port: number, target: string): Data {
  return { type: 'SRV', data: { port, target, priority: 0, weight: 100 } };
}
