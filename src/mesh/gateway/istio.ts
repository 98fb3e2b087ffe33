/** The gateway that Istio's Gateway resources make up, with the VirtualServices that are bound to them. */
import { delegated } from '../compile/delegate.ts';
import { clusterName } from '../compile/cluster-name.ts';
import { compileHttpRoute } from '../compile/http-route.ts';
import { compileL4Routes, sniHostsOf } from '../compile/l4-route.ts';
import type { MatchContext } from '../compile/matcher.ts';
import { isExported, registryOf, visibleTo } from '../compile/registry.ts';
import { qualify } from '../host.ts';
import { matchAll } from '../match.ts';
import type { HostDestination, Resource, VirtualServiceSpec } from '../resources.ts';
import { objectName } from '../resources.ts';
import type { MeshConfig, Snapshot } from '../snapshot.ts';
import type { Route, TcpRoute, VirtualHost } from '../table.ts';
import { intersection } from './hostname.ts';
import { hostTableOf } from './host-tables.ts';
import { serversOf, terminationOf } from './istio-servers.ts';
import type { IstioGateway, ServedServer } from './istio-servers.ts';
import { serverNameTable } from './server-names.ts';
import { ISTIO_GATEWAY } from './table.ts';
import type { GatewayId, GatewayPort, TlsServer } from './table.ts';

type Rule = Resource<VirtualServiceSpec>;

/** Labels of the pods of Istio's own default gateway: what `sourceLabels` and the selectors of policies mean with it. */
export const ISTIO_GATEWAY_LABELS: Readonly<Record<string, string>> = { istio: 'ingressgateway', app: 'istio-ingressgateway' };

export function istioGatewayId({ rootNamespace }: MeshConfig): GatewayId {
  return { kind: ISTIO_GATEWAY, namespace: rootNamespace, name: 'ingressgateway' };
}

/** By port. */
export function istioPorts(snapshot: Snapshot): Map<number, GatewayPort> {
  const compiler = new IstioCompiler(snapshot);
  return new Map([...serversOf(snapshot).ports].map(([port, servers]) => [port, compiler.port(port, servers)]));
}

class IstioCompiler {
  readonly #snapshot: Snapshot;
  readonly #ports = new Map<string, number[]>();

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
    for (const { host, ports } of visibleTo(registryOf(snapshot), snapshot.mesh.rootNamespace)) this.#ports.set(host, [...(this.#ports.get(host) ?? []), ...ports.map(({ port }) => port)]);
  }

  port(port: number, servers: readonly ServedServer[]): GatewayPort {
    const listeners = servers.map(nameOf);
    switch (servers[0]?.family) {
      case 'http':
        return { kind: 'http', port, listeners, hosts: hostTableOf(merged(servers.map((served) => this.#hosts(served)))) };
      case 'tls':
        return { kind: 'tls', port, listeners, servers: serverNameTable(servers.flatMap((served) => this.#servers(served))) };
      default:
        return { kind: 'tcp', port, listeners, routes: servers.flatMap((served) => this.#connections(served, 'tcp')) };
    }
  }

  /** Of several VirtualServices for a host all count, oldest first; routes that take everything come last. */
  #hosts(served: ServedServer): Map<string, VirtualHost> {
    const { server } = served;
    const names = new Map<string, Route[]>();
    for (const rule of this.#rulesOf(served)) {
      for (const name of this.#namesOf(served, rule)) names.set(name, [...(names.get(name) ?? []), ...this.#httpRoutes(served, rule)]);
    }
    const { httpsRedirect = false } = server.tls ?? {};
    if (httpsRedirect) for (const { name } of served.hosts) names.set(name, []);
    return new Map([...names].map(([name, routes]) => [name, { name: `${name}:${server.port.number}`, routes: httpsRedirect ? [redirectRoute(served)] : [...routes.filter(({ match }) => match !== matchAll), ...routes.filter(({ match }) => match === matchAll)], service: undefined }]));
  }

  #servers(served: ServedServer): [string, TlsServer][] {
    const { gateway, server } = served;
    const listener = nameOf(served);
    const termination = terminationOf(gateway, server, this.#snapshot.mesh.rootNamespace);
    if (termination !== undefined) {
      const isHttp = server.port.protocol.toUpperCase() === 'HTTPS';
      const one: TlsServer = { listener, termination, hosts: isHttp ? hostTableOf(this.#hosts(served)) : undefined, routes: isHttp ? [] : this.#connections(served, 'tcp') };
      return served.hosts.map(({ name }) => [name, one]);
    }
    const closed: TlsServer = { listener, termination: undefined, hosts: undefined, routes: [] };
    return [...this.#passedThrough(served, listener), ...served.hosts.map(({ name }): [string, TlsServer] => [name, closed])];
  }

  /** By the server names of `tls` routes, as far as the server has them. */
  #passedThrough(served: ServedServer, listener: string): [string, TlsServer][] {
    return this.#rulesOf(served).flatMap((rule) =>
      [...sniHostsOf(rule)].flatMap((sni) => {
        const routes = this.#connections(served, 'tls', rule, sni);
        return routes.length === 0 ? [] : served.hosts.flatMap(({ name }): [string, TlsServer][] => {
          const common = intersection(name, sni.toLowerCase());
          return common === undefined ? [] : [[common, { listener, termination: undefined, hosts: undefined, routes }]];
        });
      }));
  }

  #connections(served: ServedServer, part: 'tcp' | 'tls', only?: Rule, sni?: string): TcpRoute[] {
    const rules = only === undefined ? this.#rulesOf(served).filter((rule) => this.#namesOf(served, rule).length > 0) : [only];
    return rules.flatMap((rule) => compileL4Routes({ rule, part, wanted: (match) => sni === undefined || match.sniHosts?.includes(sni) === true }, this.#context(served, rule), this.#clusterKey));
  }

  #httpRoutes(served: ServedServer, rule: Rule): Route[] {
    const context = this.#context(served, rule);
    return (rule.spec.http ?? []).flatMap((route, i) => delegated(route, rule, this.#snapshot).flatMap((own) => compileHttpRoute(own.rule, own.route, i, context, this.#clusterKey)));
  }

  /** Those that name the Gateway, as a whole or in a match, and are exported to where it is. */
  #rulesOf({ gateway }: ServedServer): Rule[] {
    return this.#snapshot.virtualServices.filter((rule) => {
      const { spec, namespace } = rule;
      if ((spec.hosts ?? []).length === 0 || !isExported(spec.exportTo ?? ['*'], namespace, gateway.namespace)) return false;
      const named = [spec.gateways ?? [], ...[...(spec.http ?? []), ...(spec.tls ?? []), ...(spec.tcp ?? [])].flatMap(({ match }) => (match ?? []).map(({ gateways = [] }) => gateways))];
      return named.some((gateways) => isAmong(gateway, rule, gateways));
    });
  }

  /** What a VirtualService and a server have in common. */
  #namesOf({ hosts }: ServedServer, { spec, namespace }: Rule): string[] {
    const names = (spec.hosts ?? []).flatMap((host) => hosts.flatMap((one) => (one.namespace === undefined || one.namespace === namespace ? (intersection(one.name, qualify(host, namespace)) ?? []) : [])));
    return [...new Set(names)];
  }

  #context({ gateway, server }: ServedServer, rule: Rule): MatchContext {
    return { namespace: gateway.namespace, labels: ISTIO_GATEWAY_LABELS, port: server.port.number, bound: isAmong(gateway, rule, rule.spec.gateways ?? []), isAmong: (gateways) => isAmong(gateway, rule, gateways) };
  }

  /** The destination's own port, else the service's only one, else the gateway's. */
  readonly #clusterKey = (destination: HostDestination, namespace: string, from: number | undefined): string => {
    const host = qualify(destination.host, namespace);
    const ports = this.#ports.get(host) ?? [];
    const port = destination.port?.number ?? (ports.length === 1 ? ports[0] : from) ?? ports[0] ?? 0;
    return clusterName(port, destination.subset ?? '', host);
  };
}

/** `name` and `./name` are in the namespace of the VirtualService. */
function isAmong({ namespace, name }: IstioGateway, rule: Rule, gateways: readonly string[]): boolean {
  return gateways.some((text) => (text.includes('/') && !text.startsWith('./') ? text === `${namespace}/${name}` : rule.namespace === namespace && text.replace(/^\.\//, '') === name));
}

function nameOf({ gateway, server, index }: ServedServer): string {
  return `${gateway.namespace}/${gateway.name}/${server.port.name ?? server.name ?? index}`;
}

/** Plaintext servers of a port: the routes of a host are those of all of them. */
function merged(tables: readonly ReadonlyMap<string, VirtualHost>[]): Map<string, VirtualHost> {
  const hosts = new Map<string, VirtualHost>();
  for (const [name, host] of tables.flatMap((table) => [...table])) {
    const earlier = hosts.get(name);
    hosts.set(name, earlier === undefined ? host : { ...host, routes: [...earlier.routes, ...host.routes] });
  }
  return hosts;
}

/** `httpsRedirect`: to the same place by https (ServerTLSSettings). */
function redirectRoute({ gateway, index }: ServedServer): Route {
  const origin = `${objectName(gateway)} servers[${index}]`;
  return { name: 'https-redirect', origin, match: matchAll, action: { kind: 'redirect', status: 301, scheme: 'https', authority: undefined, port: 'default', path: undefined }, fault: undefined, cors: undefined, headers: undefined };
}
