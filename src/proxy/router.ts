/**
 * Decides, once, what becomes of an exchange: its virtual host, its route, its cluster. What follows only acts. The services
 * of a route are composed when its first request comes and kept as long as the route object lives.
 */
import { MeshError } from '../core/errors.ts';
import { below } from '../core/random.ts';
import type { Random } from '../core/random.ts';
import { findDestination, findRoute, findVirtualHost } from '../mesh/route.ts';
import type { Destination, Route, Table, VirtualHost } from '../mesh/table.ts';
import type { ClusterSet } from './cluster-set.ts';
import type { Connection } from './connection.ts';
import { DISCARD } from './exchange.ts';
import type { RequestSink, ResponseSink, Service } from './exchange.ts';
import type { RequestHead } from './head.ts';
import type { Exchange } from './record.ts';

/** One of the services a route may lead to, and how often. */
export interface Choice {
  readonly weight: number;
  readonly service: Service;
}

/** Composes what a route does: one choice, or one for each weighted destination. */
export type ComposeRoute = (route: Route) => readonly Choice[];

interface Plan {
  readonly choices: readonly Choice[];
  readonly weightTotal: number;
}

/** What routes lead to, composed when the first request comes. */
export class RoutePlans {
  readonly #random: Random;
  readonly #compose: ComposeRoute;
  readonly #plans = new WeakMap<Route, Plan>();

  constructor(random: Random, compose: ComposeRoute) {
    this.#random = random;
    this.#compose = compose;
  }

  /** By the route of the virtual host that takes the request. */
  serve(host: VirtualHost, exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    exchange.service = host.service;
    const route = findRoute(host, head);
    if (route === undefined) {
      response.abort(new MeshError('no_route', { at: host.name }));
      return DISCARD;
    }
    exchange.route = route;
    return this.#choose(route).serve(exchange, head, response);
  }

  /** One of the services that the route leads to. */
  #choose(route: Route): Service {
    const { choices, weightTotal } = this.#planOf(route);
    let point = choices.length === 1 ? 0 : below(this.#random, weightTotal);
    let i = 0;
    for (; i < choices.length - 1; i += 1) {
      point -= (choices[i] as Choice).weight;
      if (point < 0) break;
    }
    return (choices[i] as Choice).service;
  }

  #planOf(route: Route): Plan {
    const known = this.#plans.get(route);
    if (known !== undefined) return known;
    const choices = this.#compose(route);
    const plan = { choices, weightTotal: choices.reduce((sum, choice) => sum + choice.weight, 0) };
    this.#plans.set(route, plan);
    return plan;
  }
}

export class Router implements Service {
  readonly #plans: RoutePlans;
  readonly #passthrough: Service;

  /** `passthrough` serves what no virtual host claims. */
  constructor(plans: RoutePlans, passthrough: Service) {
    this.#plans = plans;
    this.#passthrough = passthrough;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const table = exchange.table as Table;
    const { connection } = exchange;
    const host = findVirtualHost(table, connection.destinationPort, destinationOf(connection, table), head.authority);
    if (host === undefined) return this.#passthrough.serve(exchange, head, response);
    return this.#plans.serve(host, exchange, head, response);
  }
}

/** Outside the registry: to wherever the client meant to go, unless outboundTrafficPolicy forbids it. */
export class Passthrough implements Service {
  readonly #clusters: ClusterSet;

  constructor(clusters: ClusterSet) {
    this.#clusters = clusters;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    if (exchange.table?.outbound.mode === 'REGISTRY_ONLY') {
      response.abort(new MeshError('blocked_by_registry_only', { at: exchange.authority }));
      return DISCARD;
    }
    return this.#clusters.passthrough.serve(exchange, head, response);
  }
}

/** Looked up once per connection and table: 0.4 µs of each request otherwise, most of it for the key. */
function destinationOf(connection: Connection, table: Table): Destination | undefined {
  let { known } = connection;
  if (known?.table !== table) {
    known = { table, destination: findDestination(table, connection.destinationAddress, connection.destinationPort) };
    connection.known = known;
  }
  return known.destination;
}

/** The end of a route's stack: its cluster, looked up anew for each exchange because a table may have replaced it. */
export class ToCluster implements Service {
  readonly key: string;
  readonly #clusters: ClusterSet;

  constructor(key: string, clusters: ClusterSet) {
    this.key = key;
    this.#clusters = clusters;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const cluster = this.#clusters.get(this.key);
    if (cluster === undefined) {
      response.abort(new MeshError('cluster_not_found', { at: this.key }));
      return DISCARD;
    }
    return cluster.serve(exchange, head, response);
  }
}

/** The end of a route's stack where its backend does not exist, or may not be named. */
export class InvalidBackend implements Service {
  readonly #reason: string;

  constructor(reason: string) {
    this.#reason = reason;
  }

  serve(exchange: Exchange, _head: RequestHead, response: ResponseSink): RequestSink {
    response.abort(new MeshError('backend_invalid', { at: exchange.route?.origin ?? '', reason: this.#reason }));
    return DISCARD;
  }
}
