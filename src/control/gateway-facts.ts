/** What only the control plane knows of gateways, for what is said of them in their status. */
import type { Credential } from '../certs/credential.ts';
import { placementOf } from '../mesh/gateway/placement.ts';
import { sourceKey } from '../mesh/gateway/sources.ts';
import type { GatewayFacts } from '../mesh/gateway/status.ts';
import type { Snapshot } from '../mesh/snapshot.ts';

export interface KnownOfGateways {
  /** By source (`Secret ns/name`); a string: why there is none. */
  readonly credential: (source: string) => Credential | string | undefined;
  readonly addresses: GatewayFacts['addresses'];
  readonly annotations: GatewayFacts['annotations'];
}

export function gatewayFacts(snapshot: Snapshot, { credential, addresses, annotations }: KnownOfGateways): GatewayFacts {
  return {
    addresses,
    annotations,
    obstacle: (gateway) => placementOf(gateway, snapshot, false).problem,
    fault: (ref, use) => {
      const found = credential(sourceKey(ref));
      if (found === undefined) return 'it has not been read yet';
      if (typeof found === 'string') return found;
      if (use === 'authority') return found.authorities === '' ? 'there is no ca.crt in it' : undefined;
      return found.certificate === '' ? 'there is no tls.crt and tls.key in it' : undefined;
    },
  };
}
