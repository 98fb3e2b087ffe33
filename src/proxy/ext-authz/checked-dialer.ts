/** Opaque connections to a pod's application: where a CUSTOM policy takes one, its authorizer is asked before it is made. */
import type { Clock, Timer } from '../../core/clock.ts';
import type { MeshError } from '../../core/errors.ts';
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import type { Connection } from '../connection.ts';
import type { OpaqueAttempt, OpaqueDialer, OpaqueOutcome, OpaqueTarget } from '../opaque.ts';
import type { Exchange } from '../record.ts';
import type { ExternalAuthorizer } from './external-authorizer.ts';

/** Whom to ask about a connection; undefined = nobody. */
export type ConsultConnection = (connection: Connection) => ExtAuthzProvider | undefined;

export class CheckedDialer implements OpaqueDialer {
  readonly #next: OpaqueDialer;
  readonly #consult: ConsultConnection;
  readonly #authorizer: ExternalAuthorizer;
  readonly #clock: Clock;

  constructor(next: OpaqueDialer, consult: ConsultConnection, authorizer: ExternalAuthorizer, clock: Clock) {
    this.#next = next;
    this.#consult = consult;
    this.#authorizer = authorizer;
    this.#clock = clock;
  }

  connect(exchange: Exchange, target: OpaqueTarget, outcome: OpaqueOutcome): OpaqueAttempt {
    const provider = this.#consult(exchange.connection);
    if (provider === undefined) return this.#next.connect(exchange, target, outcome);
    const attempt = new CheckedAttempt(() => this.#next.connect(exchange, target, outcome), outcome);
    attempt.ask(this.#clock, (done) => this.#authorizer.connection(provider, exchange, done));
    return attempt;
  }
}

class CheckedAttempt implements OpaqueAttempt {
  readonly #connect: () => OpaqueAttempt;
  readonly #outcome: OpaqueOutcome;
  #begin: Timer | undefined;
  #stop: (() => void) | undefined;
  #attempt: OpaqueAttempt | undefined;

  constructor(connect: () => OpaqueAttempt, outcome: OpaqueOutcome) {
    this.#connect = connect;
    this.#outcome = outcome;
  }

  /** In a later turn, because some answers come at once and an outcome may not. */
  ask(clock: Clock, ask: (done: (error: MeshError | undefined) => void) => () => void): void {
    this.#begin = clock.after(0, () => {
      let answered = false;
      const stop = ask((error) => {
        answered = true;
        this.#stop = undefined;
        if (error === undefined) this.#attempt = this.#connect();
        else this.#outcome.unreachable(error);
      });
      if (!answered) this.#stop = stop;
    });
  }

  cancel(): void {
    this.#begin?.cancel();
    this.#stop?.();
    this.#attempt?.cancel();
  }
}
