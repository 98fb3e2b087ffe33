/** How commands that change a cluster reach it: as kubectl would. */
import type { Command } from 'commander';
import { ClusterObjects } from '../install/cluster-objects.ts';
import { ApiClient } from '../kube/api-client.ts';
import { kubeconfigCredentials } from '../kube/credentials.ts';

export interface ClusterFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

export function withClusterFlags(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'how to reach the cluster (default: $KUBECONFIG, or ~/.kube/config)')
    .option('--context <name>', 'of the kubeconfig (default: its current one)');
}

/** Run `action` on the cluster. What goes wrong is told as it is, without a stack. */
export async function onCluster(command: string, { kubeconfig, context }: ClusterFlags, action: (objects: ClusterObjects) => Promise<void>): Promise<void> {
  let client: ApiClient | undefined;
  try {
    client = new ApiClient(await kubeconfigCredentials(kubeconfig, context));
    await action(new ClusterObjects(client));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const said = error instanceof Error ? error.message : String(error);
    process.stderr.write(`orlop ${command}: ${code === undefined ? said : `the API server at ${client?.address ?? ''} cannot be reached: ${said === '' ? code : said}`}\n`);
    process.exitCode = 1;
  } finally {
    client?.close();
  }
}
