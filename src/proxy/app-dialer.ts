/** The upstream of an opaque inbound connection: the pod's own application, which sees the client's address. */
import { hostPort } from '../core/address.ts';
import { CONNECT_TIMEOUT_MS, TCP_IDLE_TIMEOUT_MS } from '../core/limits.ts';
import type { DataPlane } from './dataplane.ts';
import { Dial } from './dial.ts';
import type { Lease, OpaqueAttempt, OpaqueDialer, OpaqueOutcome, OpaqueTarget } from './opaque.ts';
import type { Exchange } from './record.ts';
import type { WorkloadHandle } from './workload.ts';

/** The application limits nothing but time: what clients may do is their side's business. */
const APP_LEASE: Lease = Object.freeze({ idleTimeoutMs: TCP_IDLE_TIMEOUT_MS, release: () => undefined });

export class AppDialer implements OpaqueDialer {
  readonly #workload: WorkloadHandle;
  readonly #dataplane: DataPlane;

  constructor(workload: WorkloadHandle, dataplane: DataPlane) {
    this.#workload = workload;
    this.#dataplane = dataplane;
  }

  connect(exchange: Exchange, _target: OpaqueTarget, outcome: OpaqueOutcome): OpaqueAttempt {
    const { destinationAddress: address, destinationPort: port, remoteAddress: clientAddress } = exchange.connection;
    exchange.attempts += 1;
    exchange.upstreamAddress = hostPort(address, port);
    exchange.upstreamWorkload = this.#workload.id;
    return new Dial(this.#dataplane, { workload: this.#workload, direction: 'inbound', address, port, clientAddress, security: undefined }, CONNECT_TIMEOUT_MS, {
      dialled: (transport) => {
        exchange.upstreamLocalAddress = hostPort(transport.localAddress, transport.localPort);
        outcome.dialled(transport, APP_LEASE);
      },
      unreachable: (error) => outcome.unreachable(error),
    });
  }
}
