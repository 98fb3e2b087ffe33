/**
 * The server's side: exchanges meant for a pod's own application, whether they came over a captured connection or straight
 * from the client agent on the same node. The connection to the application carries the client's address, so there is one set
 * of connections per port and client.
 */
import type { Clock } from '../core/clock.ts';
import { APP_CLIENTS_MAX, APP_IDLE_TIMEOUT_MS } from '../core/limits.ts';
import type { Protocol, RetryPolicy } from '../mesh/table.ts';
import { Attempt, AttemptRequest } from './attempt.ts';
import type { AttemptHost } from './attempt.ts';
import { Budget } from './budget.ts';
import { codecFor } from './codecs.ts';
import type { Codecs } from './codecs.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { Endpoint } from './endpoint.ts';
import type { RequestSink, ResponseSink, Service } from './exchange.ts';
import type { RequestHead } from './head.ts';
import type { ExternalAuthorizer } from './ext-authz/external-authorizer.ts';
import { authorize, providerFor } from './layers/authorize.ts';
import { extAuthz } from './layers/ext-authz.ts';
import { kubeletProbes } from './layers/kubelet-probes.ts';
import { stack } from './layers/layer.ts';
import { normalizedPath } from './layers/normalize-path.ts';
import { observe } from './layers/observe.ts';
import { peerAuthentication } from './layers/peer-authentication.ts';
import { requestAuthentication } from './layers/request-authentication.ts';
import { requestId } from './layers/request-id.ts';
import { rescue } from './layers/rescue.ts';
import { retry } from './layers/retry.ts';
import { Pool } from './pool.ts';
import type { PoolHost } from './pool.ts';
import type { Exchange } from './record.ts';
import { unlimited } from './unlimited.ts';
import type { Dialer, UpstreamCodec } from './upstream.ts';
import type { WorkloadHandle } from './workload.ts';

/** The application's own pod limits nothing but time: what clients may do is their side's business. */
const APP_LIMITS = unlimited(APP_IDLE_TIMEOUT_MS);

/** Istio's default for inbound routes: hides the application's closing of kept-alive connections, for any method. */
const APP_RETRY: RetryPolicy = Object.freeze({
  attempts: 2,
  perTryTimeoutMs: 0,
  on: {
    fiveHundreds: false,
    gatewayError: false,
    reset: false,
    resetBeforeRequest: true,
    connectFailure: false,
    refusedStream: false,
    retriable4xx: false,
    statuses: new Set<number>(),
    grpcStatuses: new Set<number>(),
  },
  backoffBaseMs: 25,
  backoffMaxMs: 250,
  avoidPreviousHosts: false,
});

export class Inbound {
  /** Serves every exchange for the pod; what it needs to know of the connection is in the exchange. */
  readonly service: Service;
  readonly #app: App;

  constructor(workload: WorkloadHandle, dataplane: DataPlane, codecs: Codecs, authorizer: ExternalAuthorizer) {
    const { authenticator, buffers, clock, log, random, telemetry } = dataplane;
    const app = new App(workload, dataplane, codecs);
    this.#app = app;
    // Repeats only what the application cannot have seen.
    const toApp = stack([retry(APP_RETRY, { clock, random, buffers, budget: () => app.budget })], app);
    this.service = stack(
      [
        // Outermost: this is reporter=destination, refusals included.
        observe(telemetry, clock),
        // Every failure below ends here.
        rescue(log),
        // A client outside the mesh may have sent none.
        requestId(random),
        // Past all policies: they would otherwise decide whether the application runs.
        kubeletProbes(workload.admission, toApp),
        // Before anything looks at the request: who has not proved who it is was taken for a probe, and is none.
        peerAuthentication(workload.admission),
        // One spelling of the path for every policy below, and for the application.
        normalizedPath,
        // First of the policies on requests, as in Istio: it may supply the token.
        extAuthz(providerFor, authorizer),
        // Refuses tokens that are not valid, and notes what the others prove.
        requestAuthentication(authenticator),
        // After the tokens, which rules may ask for.
        authorize(workload.admission),
      ],
      toApp,
    );
  }

  /** The workload is released: finish what is under way. */
  close(): void {
    this.#app.close();
  }
}

/** The application of one pod, as an upstream. */
class App implements Service, PoolHost, AttemptHost {
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly #codecs: Codecs;
  readonly budget = new Budget(APP_LIMITS);
  readonly #workload: WorkloadHandle;
  /** By port and client address. */
  readonly #clients = new Map<string, Endpoint>();

  constructor(workload: WorkloadHandle, dataplane: DataPlane, codecs: Codecs) {
    this.#workload = workload;
    this.clock = dataplane.clock;
    this.dialer = dataplane.dialer;
    this.#codecs = codecs;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { connection } = exchange;
    exchange.service ??= this.#workload.table.inbound.get(connection.destinationPort)?.service;
    const endpoint = this.#endpointFor(connection);
    const attempt = new Attempt(this, endpoint, exchange, head, response);
    const codec = codecFor(this.#codecs, this.#protocolOf(connection), head);
    const pool = endpoint.pool(codec) ?? endpoint.keep(this.#makePool(connection, codec));
    return new AttemptRequest(attempt, pool.send(attempt));
  }

  /** Of a port that nobody has declared, what the client's side takes it for: over a wire it would come as that. */
  #protocolOf({ destinationPort, protocol }: Connection): Protocol | undefined {
    const declared = this.#workload.table.inbound.get(destinationPort)?.protocol;
    return declared === undefined || declared === 'sniff' ? (protocol ?? declared) : declared;
  }

  close(): void {
    for (const endpoint of this.#clients.values()) endpoint.drain();
  }

  emptied(pool: Pool): void {
    const key = clientKey(pool.target);
    const endpoint = this.#clients.get(key);
    endpoint?.forget(pool);
    if (endpoint?.connected === false) this.#clients.delete(key);
  }

  answered(): void {
    // One application, nothing to choose: no outlier detection.
  }

  failed(): void {
    // As above.
  }

  released(): void {
    // The pool says when it is empty.
  }

  #endpointFor(connection: Connection): Endpoint {
    const { destinationAddress: address, destinationPort: port, remoteAddress: clientAddress } = connection;
    const key = clientKey({ address, port, clientAddress });
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    if (this.#clients.size >= APP_CLIENTS_MAX) this.#closeOldestIdle();
    const endpoint = new Endpoint({ address, port, weight: 1, workload: this.#workload.id, node: undefined, enrolled: true, identity: this.#workload.identity }, address, port);
    this.#clients.set(key, endpoint);
    return endpoint;
  }

  #makePool({ destinationAddress: address, destinationPort: port, remoteAddress: clientAddress }: Connection, codec: UpstreamCodec): Pool {
    return new Pool(this, { workload: this.#workload, direction: 'inbound', address, port, clientAddress, security: undefined }, codec);
  }

  #closeOldestIdle(): void {
    for (const endpoint of this.#clients.values()) {
      if (endpoint.active > 0) continue;
      endpoint.drain();
      return;
    }
  }
}

function clientKey({ address, port, clientAddress }: { readonly address: string; readonly port: number; readonly clientAddress: string }): string {
  return `${clientAddress} ${address} ${port}`;
}
