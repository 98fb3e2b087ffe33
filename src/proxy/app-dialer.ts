/** The upstream of an opaque inbound connection: the pod's own application, which sees the client's address. */
import { hostPort } from '../core/address.ts';
import type { MeshError } from '../core/errors.ts';
import { CONNECT_TIMEOUT_MS, TCP_IDLE_TIMEOUT_MS } from '../core/limits.ts';
import type { DataPlane } from './dataplane.ts';
import { Dial } from './dial.ts';
import { OpaqueWatch } from './opaque-watch.ts';
import type { OpaqueAttempt, OpaqueDialer, OpaqueOutcome, OpaqueTarget } from './opaque.ts';
import type { Exchange } from './record.ts';
import type { TransportOwner } from './transport.ts';
import type { WorkloadHandle } from './workload.ts';

/** Owner of a connection that is given up. */
const NOBODY: TransportOwner = Object.freeze({ bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined });

export class AppDialer implements OpaqueDialer {
  readonly #workload: WorkloadHandle;
  readonly #dataplane: DataPlane;

  constructor(workload: WorkloadHandle, dataplane: DataPlane) {
    this.#workload = workload;
    this.#dataplane = dataplane;
  }

  connect(exchange: Exchange, _target: OpaqueTarget, outcome: OpaqueOutcome): OpaqueAttempt {
    // {@link CheckedDialer} comes before.
    const fault = this.#workload.admission.judgeOpaque(exchange.connection, true);
    return fault === undefined ? this.#dial(exchange, outcome) : this.#refuse(fault, outcome);
  }

  #dial(exchange: Exchange, outcome: OpaqueOutcome): OpaqueAttempt {
    const { destinationAddress: address, destinationPort: port, remoteAddress: clientAddress } = exchange.connection;
    exchange.attempts += 1;
    exchange.upstreamAddress = hostPort(address, port);
    exchange.upstreamWorkload = this.#workload.id;
    return new Dial(this.#dataplane, { workload: this.#workload, direction: 'inbound', address, port, clientAddress, security: undefined }, CONNECT_TIMEOUT_MS, {
      dialled: (transport) => {
        exchange.upstreamLocalAddress = hostPort(transport.localAddress, transport.localPort);
        // The configuration may have changed while it was dialled.
        const fault = this.#workload.admission.opaqueFault(exchange.connection, true);
        if (fault !== undefined) {
          transport.owner = NOBODY;
          transport.reset();
          outcome.unreachable(fault);
          return;
        }
        const watch = new OpaqueWatch(exchange, transport, true);
        // The application limits nothing but time: what clients may do is their side's business.
        outcome.dialled(transport, { idleTimeoutMs: TCP_IDLE_TIMEOUT_MS, release: () => watch.stop() });
      },
      unreachable: (error) => outcome.unreachable(error),
    });
  }

  /** In a later turn: the caller has not got the attempt yet. */
  #refuse(error: MeshError, outcome: OpaqueOutcome): OpaqueAttempt {
    const timer = this.#dataplane.clock.after(0, () => outcome.unreachable(error));
    return { cancel: () => timer.cancel() };
  }
}
