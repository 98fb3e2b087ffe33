/** `main.ts up|down [NAME]`: what make kube-up and make kube-down run. */
import { Cluster, takeDown } from './cluster.ts';
import { ClusterError } from './cluster-error.ts';

async function up(name: string | undefined): Promise<void> {
  const started = Date.now();
  const cluster = await Cluster.up({ ...(name !== undefined && { name }), nodes: 2, keep: true, onProgress: (text) => {
    print(`==> ${text}`);
  } });
  print(`cluster ${cluster.name} is up after ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  print(await cluster.kubectl(['get', 'nodes', '-o', 'wide']));
  print(`Try:\n  export KUBECONFIG=${cluster.kubeconfig} PATH=$PATH:${cluster.programs}\n  kubectl get pods -A\n  make kube-down`);
}

async function down(name: string | undefined): Promise<void> {
  const names = await takeDown(name);
  print(names.length === 0 ? 'no cluster was kept or left behind' : `down: ${names.join(', ')}`);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

const [, , verb, name] = process.argv;
try {
  if (verb === 'up') await up(name);
  else if (verb === 'down') await down(name);
  else throw new ClusterError('usage: main.ts up|down [NAME]');
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  process.stderr.write(`kube: ${error.message}\n`);
  process.exitCode = 1;
}
