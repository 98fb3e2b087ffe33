/** The connections of one pod to elsewhere, each secured as its target says. */
import type { Duplex } from 'node:stream';
import type { Tunnels } from './hbone/tunnels.ts';
import type { Transport, TransportOwner } from './transport.ts';
import type { Dialer, DialTarget } from './upstream.ts';

export class PodDialer implements Dialer {
  readonly #plain: Dialer;
  readonly #tunnels: Tunnels;

  constructor(plain: Dialer, tunnels: Tunnels) {
    this.#plain = plain;
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
        throw new Error('TLS origination');
    }
  }
}
