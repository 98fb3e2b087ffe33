/** Where the configuration is, as the command line has it. */
import { existsSync, statSync } from 'node:fs';
import { inCluster } from '../kube/credentials.ts';
import type { ConfigPlace } from '../kube/open-config.ts';

/** The place, or what is wrong with the options. */
export function configPlace({ config, kubeconfig }: { readonly config?: string; readonly kubeconfig?: string }): ConfigPlace | string {
  if (config !== undefined && kubeconfig !== undefined) return '--config and --kubeconfig exclude each other: the configuration is in a directory, or in a cluster';
  if (config !== undefined) return existsSync(config) && statSync(config).isDirectory() ? { directory: config } : `--config ${config} is not a directory; give one with Kubernetes and Istio YAML files`;
  if (kubeconfig !== undefined) return existsSync(kubeconfig) ? { kubeconfig } : `--kubeconfig ${kubeconfig} does not exist`;
  return inCluster() ? { serviceAccount: true } : 'there is no service account of a cluster here; give --config with a directory of Kubernetes and Istio YAML files, or --kubeconfig';
}
