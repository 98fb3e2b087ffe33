/** Where the configuration of an agent, or of a control plane, comes from: a directory of YAML, or the API server of a cluster. */
import type { Watch } from '../core/watch.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { LivePods } from './live-pods.ts';

export interface ConfigSource {
  /** Undefined until the source has been read whole for the first time. */
  readonly snapshot: Watch<Snapshot | undefined>;
  /** Names the content that the snapshot was made of. */
  readonly digest: string;
  /** Why what is in force may be out of date; undefined when the source is followed. */
  readonly stale: string | undefined;
  /** Absent where the snapshot is all that is known. */
  readonly livePods?: LivePods;
  close(): void;
}
