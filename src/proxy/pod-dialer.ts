/** The connections of one pod to elsewhere, each secured as its target says. */
import type { Duplex } from 'node:stream';
import type { DataPlane } from './dataplane.ts';
import type { Tunnels } from './hbone/tunnels.ts';
import { SocketTransport } from './socket-transport.ts';
import type { Identities } from './tls/identities.ts';
import { Originator } from './tls/originate.ts';
import type { Secrets } from './tls/originate.ts';
import type { Transport, TransportOwner } from './transport.ts';
import type { Dialer, DialTarget } from './upstream.ts';

export class PodDialer implements Dialer {
  readonly #plain: Dialer;
  readonly #tunnels: Tunnels;
  readonly #identities: Identities;
  readonly #originator: Originator;

  /** `secrets`: what targets may name besides files. */
  constructor({ dialer, identities, clock }: DataPlane, tunnels: Tunnels, secrets?: Secrets) {
    this.#plain = dialer;
    this.#identities = identities;
    this.#originator = new Originator(clock, secrets);
    this.#tunnels = tunnels;
  }

  socket(target: DialTarget): Duplex {
    return this.#plain.socket(target);
  }

  dial(target: DialTarget, owner: TransportOwner): Transport {
    const { security } = target;
    switch (security?.kind) {
      case undefined:
        return this.#plain.dial(target, owner);
      case 'hbone':
        return this.#tunnels.open(target, security.identities, owner);
      case 'tls':
        return SocketTransport.securing(this.#originator.connect(() => this.#plain.socket(target), security, this.#identities.get(target.workload.identity)), owner);
    }
  }
}
