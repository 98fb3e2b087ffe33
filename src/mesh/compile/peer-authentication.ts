/** The mutual TLS mode of each port of a workload (istio.io/docs/reference/config/security/peer_authentication). */
import { objectName } from '../resources.ts';
import type { Resource } from '../resources.ts';
import { NO_SECURITY } from '../security.ts';
import type { Mtls, MtlsMode } from '../security.ts';
import type { MutualTls, PeerAuthenticationSpec } from '../security-resources.ts';
import type { Workload } from '../snapshot.ts';
import { hasLabels } from './registry.ts';

type PeerAuthentication = Resource<PeerAuthenticationSpec>;

/**
 * Those in force for a workload, from the widest to the narrowest: of the mesh, of its namespace, its own. On each level only the
 * oldest counts; one of the root namespace with a selector is for nobody. `resources` are in order of age.
 */
export function peerAuthenticationsOf(resources: readonly PeerAuthentication[], rootNamespace: string, { namespace, labels }: Pick<Workload, 'namespace' | 'labels'>): PeerAuthentication[] {
  const mesh = resources.find((one) => one.namespace === rootNamespace && !selects(one));
  const own = resources.find((one) => one.namespace === namespace && namespace !== rootNamespace && !selects(one));
  const narrow = resources.find((one) => one.namespace === namespace && namespace !== rootNamespace && selects(one) && hasLabels(labels, one.spec.selector?.matchLabels ?? {}));
  return [mesh, own, narrow].filter((one) => one !== undefined);
}

/** Is it for some workloads of its namespace only? */
export function selects({ spec }: PeerAuthentication): boolean {
  return Object.keys(spec.selector?.matchLabels ?? {}).length > 0;
}

/** Each level overrides the one before, unless it leaves the mode unset. */
export function mtlsOf(levels: readonly PeerAuthentication[]): Mtls {
  let { default: mode, defaultOrigin } = NO_SECURITY.mtls;
  for (const level of levels) {
    const set = modeOf(level.spec.mtls);
    if (set !== undefined) [mode, defaultOrigin] = [set, objectName(level)];
  }
  const ports = new Map<number, MtlsMode>();
  const portOrigins = new Map<number, string>();
  for (const level of levels) {
    for (const [port, mtls] of Object.entries(level.spec.portLevelMtls ?? {})) {
      const set = modeOf(mtls);
      if (set === undefined) continue;
      ports.set(Number(port), set);
      portOrigins.set(Number(port), `${objectName(level)} portLevelMtls`);
    }
  }
  return Object.freeze({ default: mode, defaultOrigin, ports, portOrigins });
}

function modeOf(mtls: MutualTls | undefined): MtlsMode | undefined {
  return mtls?.mode === undefined || mtls.mode === 'UNSET' ? undefined : mtls.mode;
}
