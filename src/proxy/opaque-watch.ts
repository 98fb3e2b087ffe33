/** An opaque connection to a pod's application, ended when the pod's policies no longer allow it. */
import type { MeshError } from '../core/errors.ts';
import type { Watched } from './admission.ts';
import type { Connection } from './connection.ts';
import type { Exchange } from './record.ts';
import type { Transport } from './transport.ts';

export class OpaqueWatch implements Watched {
  readonly #exchange: Exchange;
  readonly #transport: Transport;
  readonly #asked: boolean;

  /** `exchange` is the server's side's; `transport` leads to the application. `asked`: authorizers have agreed. */
  constructor(exchange: Exchange, transport: Transport, asked: boolean) {
    this.#asked = asked;
    this.#exchange = exchange;
    this.#transport = transport;
    this.connection.workload.admission.watch(this);
  }

  get connection(): Connection {
    return this.#exchange.connection;
  }

  fault(): MeshError | undefined {
    return this.connection.workload.admission.opaqueFault(this.connection, this.#asked);
  }

  end(error: MeshError): void {
    this.#exchange.error = error;
    this.#exchange.flag(error.kind.flag);
    this.#exchange.details = error.details;
    this.#transport.reset();
  }

  stop(): void {
    this.connection.workload.admission.forget(this);
  }
}
