/** What every part of a worker's data plane is given: the outside world, and nothing else. */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import type { Buffers } from './buffers.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Authenticator } from './jwt/authenticator.ts';
import type { Identities } from './tls/identities.ts';
import type { Dialer } from './upstream.ts';
import type { WorkloadHandle } from './workload.ts';

export interface DataPlane {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly telemetry: Telemetry;
  readonly dialer: Dialer;
  /** Certificates of the node's workloads. */
  readonly identities: Identities;
  /** Verifies the tokens of requests, and remembers those it has verified. */
  readonly authenticator: Authenticator;
  /** What exchanges hold in memory, of one workload where it is a pod's own. */
  readonly buffers: Buffers;
  /** Addresses of a name, for clusters that are discovered by DNS. Rejects when it cannot be resolved. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  /** Addresses of the node itself, which the kubelet's probes come from. */
  readonly nodeAddresses: () => ReadonlySet<string>;
  /** The enrolled pods of this node, by `ns/name`. */
  readonly workloads: ReadonlyMap<string, WorkloadHandle>;
  /** True while the agent ends: answers then say `Connection: close`. */
  readonly draining: () => boolean;
}
