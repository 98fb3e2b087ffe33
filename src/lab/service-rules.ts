/**
 * The nftables rules by which un-enrolled pods and the node itself reach Services, as kube-proxy would make them: each new
 * connection to a virtual address goes to a random ready endpoint. Rendered as one transaction for `nft -f`. Pure.
 */
import { endpointsOf } from './endpoints.ts';
import type { ReadyPods } from './endpoints.ts';
import type { LabService, ServicePort, World } from './world.ts';

/** The lab's table in each node's namespace. */
const SERVICE_TABLE = 'orlop-lab';

/** Rules of every node (they are all alike): the table is replaced as a whole. */
export function renderServiceRules(world: World, ready: ReadyPods): string {
  const translations: string[] = [];
  const refusals: string[] = [];
  for (const service of world.services) {
    for (const port of service.ports) {
      for (const address of service.clusterIPs) {
        const targets = targetsOf(world, service, { port, address, ready });
        const match = `${familyWord(address)} daddr ${address} ${port.protocol.toLowerCase()} dport ${port.port}`;
        const comment = `comment "${service.namespace}/${service.name}"`;
        if (targets.length > 0) translations.push(`${match} ${translation(address, targets)} ${comment}`);
        else refusals.push(`${match} reject ${port.protocol === 'TCP' ? 'with tcp reset ' : ''}${comment}`);
      }
    }
  }
  return table(world, translations, refusals);
}

/** `address . port` of the ready endpoints, in the family of the virtual address. */
function targetsOf(world: World, service: LabService, at: { port: ServicePort; address: string; ready: ReadyPods }): string[] {
  return endpointsOf(service, at.port, world.pods, at.ready)
    .filter((endpoint) => endpoint.ready)
    .map(({ pod, port }) => `${at.address.includes(':') ? pod.address.ipv6 : pod.address.ipv4} . ${port}`);
}

function translation(address: string, targets: readonly string[]): string {
  const choices = targets.map((target, index) => `${index} : ${target}`).join(', ');
  return `dnat ${familyWord(address)} addr . port to numgen random mod ${targets.length} map { ${choices} }`;
}

function familyWord(address: string): 'ip' | 'ip6' {
  return address.includes(':') ? 'ip6' : 'ip';
}

/** A pod that reaches itself through its Service would see its own address as the source and answer itself: masquerade those. */
function hairpins(world: World, family: 'ipv4' | 'ipv6'): string {
  const pairs = world.pods.map((pod) => `${pod.address[family]} . ${pod.address[family]}`);
  return pairs.length === 0 ? '' : `    elements = { ${pairs.join(', ')} }\n`;
}

function rules(lines: readonly string[]): string {
  return lines.map((line) => `    ${line}\n`).join('');
}

function table(world: World, translations: readonly string[], refusals: readonly string[]): string {
  return `table inet ${SERVICE_TABLE}
delete table inet ${SERVICE_TABLE}
table inet ${SERVICE_TABLE} {
  set hairpin4 {
    type ipv4_addr . ipv4_addr
${hairpins(world, 'ipv4')}  }
  set hairpin6 {
    type ipv6_addr . ipv6_addr
${hairpins(world, 'ipv6')}  }
  chain services {
${rules(translations)}  }
  chain unserved {
${rules(refusals)}  }
  chain prerouting {
    type nat hook prerouting priority dstnat
    jump services
  }
  chain output {
    type nat hook output priority -100
    jump services
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr . ip daddr @hairpin4 masquerade
    ip6 saddr . ip6 daddr @hairpin6 masquerade
  }
  chain forward {
    type filter hook forward priority filter
    jump unserved
  }
  chain local {
    type filter hook output priority filter
    jump unserved
  }
}
`;
}
