/** `make story`: Orlop on a Kubernetes of two nodes, from orlop install to orlop uninstall, told step by step. Ends with 1 when a step saw what it should not. */
import { Screen } from '../src/cli/demo-screen.ts';
import { ClusterError } from '../test/kube/cluster/cluster-error.ts';
import { setScene, storyOf } from '../test/kube/story/story.ts';

async function tell(screen: Screen): Promise<boolean> {
  screen.title('Orlop on a real Kubernetes: two nodes, their kubelets, and bookinfo');
  await using cluster = await setScene('story', (text) => {
    screen.quiet(text);
  });
  const steps = storyOf(cluster);
  let failures = 0;
  for (const { title, play } of steps) {
    screen.step(title);
    const { ok, lines, verdict } = await play();
    for (const line of lines) screen.line(line);
    screen.verdict(ok, verdict);
    if (!ok) failures += 1;
  }
  screen.summary(steps.length, failures);
  return failures === 0;
}

try {
  process.exitCode = await tell(new Screen(process.stdout)) ? 0 : 1;
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  process.stderr.write(`story: ${error.message}\n`);
  process.exitCode = 1;
}
