/** A source of configuration, opened. */
import { systemClock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import { ApiClient } from './api-client.ts';
import { ApiSource } from './api-source.ts';
import { ConfigDir } from './config-dir.ts';
import type { ConfigSource } from './config-source.ts';
import { kubeconfigCredentials, serviceAccountCredentials } from './credentials.ts';

/** A cluster: as a kubeconfig says, or as the service account of this pod. */
export type ClusterPlace = { readonly kubeconfig: string } | { readonly serviceAccount: true };

export type ConfigPlace = { readonly directory: string } | ClusterPlace;

export interface OpenOptions {
  readonly node: string | undefined;
  readonly savedPath: string | undefined;
  readonly log: Logger;
}

/** Resolves when the source can be used. Rejects with a sentence when it never will be. */
export async function openConfig(place: ConfigPlace, options: OpenOptions): Promise<ConfigSource> {
  if ('directory' in place) return new ConfigDir(place.directory, options.log);
  return ApiSource.open({ client: await connect(place), clock: systemClock, random: systemRandom, ...options });
}

export async function connect(place: ClusterPlace): Promise<ApiClient> {
  return new ApiClient('kubeconfig' in place ? await kubeconfigCredentials(place.kubeconfig) : serviceAccountCredentials());
}
