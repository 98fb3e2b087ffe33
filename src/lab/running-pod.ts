/** A pod while it runs: its network, the process that holds its namespaces, its containers and whether it is ready. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { Netns } from '../sys/netns.ts';
import { makeCgroup } from './cgroup.ts';
import { CHECKOUT, podEnvironment } from './checkout.ts';
import { inCgroup, inPod } from './enter.ts';
import type { PodPlace } from './enter.ts';
import { externalGateway } from './addresses.ts';
import { makePodNetwork } from './network.ts';
import { NETNS_DIRECTORY } from './names.ts';
import type { LabPaths } from './names.ts';
import { attemptProbe, isListening } from './probe.ts';
import { Supervised } from './supervised.ts';
import type { LabContainer, LabPod, World } from './world.ts';
import { CLUSTER_DOMAIN } from './zone.ts';

/** Until a pod is ready for the first time it is looked at this often, whatever its probe's period: a lab should come up at once. */
const EAGER_PERIOD_MS = 100;
const STOP_GRACE_MS = 1_000;

/** Mounts the pod's own files over the host's, takes its name, says so, and stays: what Kubernetes calls the pause container. */
const PAUSE = [
  'mount --bind "$0/hosts" /etc/hosts', 'mount --bind "$0/resolv.conf" /etc/resolv.conf',
  'echo "$1" > /proc/sys/kernel/hostname', 'echo ready', 'exec sleep infinity',
].join(' && ');

interface Watched {
  container: LabContainer;
  process: Supervised;
  ready: boolean;
}

export interface RunningPodOptions {
  world: World;
  paths: LabPaths;
  pod: LabPod;
  /** A number of its own in the lab, for the name of its link. */
  index: number;
  /** Called when readiness or a container's state changed. */
  onChange(): void;
}

export class RunningPod {
  readonly pod: LabPod;
  readonly place: PodPlace;
  readonly #pause: ChildProcess;
  readonly #probeFrom: Netns;
  readonly #containers: Watched[];
  readonly #options: RunningPodOptions;
  readonly #stopping = new AbortController();

  private constructor(options: RunningPodOptions, place: PodPlace, pause: ChildProcess) {
    const { world, pod, paths } = options;
    this.pod = pod;
    this.place = place;
    this.#pause = pause;
    this.#options = options;
    const home = world.nodes.find((node) => node.name === pod.node)?.netns ?? world.fabricNetns;
    this.#probeFrom = Netns.open(`${NETNS_DIRECTORY}/${home}`);
    this.#containers = pod.containers.map((container) => ({
      container,
      ready: false,
      process: new Supervised({
        argv: inPod(place, container.argv, { cwd: CHECKOUT, ...container }),
        env: podEnvironment(pod, container.env, paths.podScratch(pod.namespace, pod.name)),
        cwd: CHECKOUT,
        logPath: paths.containerLog(pod.namespace, pod.name, container.name),
        onChange: () => {
          this.#options.onChange();
        },
      }),
    }));
  }

  /** Make the pod's network and namespaces; nothing of the user's runs in it yet. */
  static async create(options: RunningPodOptions): Promise<RunningPod> {
    const { world, pod, paths, index } = options;
    await makePodNetwork(world, pod, index);
    const cgroup = makeCgroup(world.name, `pod-${pod.netns}`);
    const directory = paths.pod(pod.namespace, pod.name);
    writePodFiles(world, pod, directory);
    makeScratch(paths.podScratch(pod.namespace, pod.name));
    const pause = await startPause(pod, { cgroup, directory });
    return new RunningPod(options, { cgroup, netnsPath: `${NETNS_DIRECTORY}/${pod.netns}`, pausePid: pause.pid as number }, pause);
  }

  start(): void {
    for (const watched of this.#containers) {
      watched.process.start();
      void this.#watch(watched);
    }
  }

  get ready(): boolean {
    return this.#containers.every(({ ready, process }) => ready && process.running);
  }

  get containers(): { name: string; running: boolean; ready: boolean; restarts: number; pid?: number }[] {
    return this.#containers.map(({ container, process, ready }) => ({
      name: container.name, running: process.running, ready: ready && process.running, restarts: process.restarts, ...(process.pid !== undefined && { pid: process.pid }),
    }));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#containers.map(({ process }) => process.stop(STOP_GRACE_MS)));
    this.#pause.kill('SIGKILL');
    this.#probeFrom.close();
  }

  /** Keep `ready` of one container true to what its probe says. */
  async #watch(watched: Watched): Promise<void> {
    const probe = watched.container.readinessProbe;
    const { signal } = this.#stopping;
    let [streak, everReady, pid] = [0, false, watched.process.pid];
    if (probe !== undefined && probe.initialDelayMs > 0) await pauseFor(probe.initialDelayMs, signal);
    while (!signal.aborted) {
      // A process that was started again begins as one that never was ready.
      if (watched.process.pid !== pid) [streak, everReady, pid] = [0, false, watched.process.pid];
      const ok = await this.#isReady(watched);
      if (signal.aborted) return;
      streak = ok ? Math.max(0, streak) + 1 : Math.min(0, streak) - 1;
      const flips = watched.process.running && everReady && !ok ? -streak >= (probe?.failureThreshold ?? 1) : !ok || streak >= (probe?.successThreshold ?? 1);
      if (flips && watched.ready !== ok) {
        watched.ready = ok;
        this.#options.onChange();
      }
      everReady ||= watched.ready;
      await pauseFor(everReady && probe !== undefined ? probe.periodMs : EAGER_PERIOD_MS, signal);
    }
  }

  async #isReady({ container, process }: Watched): Promise<boolean> {
    if (!process.running) return false;
    if (container.readinessProbe !== undefined) return attemptProbe(container.readinessProbe, this.#probeFrom, this.pod.address.ipv4);
    const port = container.ports.find(({ protocol }) => protocol === 'TCP')?.port;
    return port === undefined || isListening(this.place.pausePid, port);
  }
}

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}

function makeScratch(directory: string): void {
  mkdirSync(directory, { recursive: true });
  // Like /tmp: mkdir's mode would be narrowed by the umask.
  chmodSync(directory, 0o1777);
}

function writePodFiles(world: World, pod: LabPod, directory: string): void {
  mkdirSync(directory, { recursive: true });
  const { hostname, subdomain, address } = pod;
  const names = subdomain === undefined ? hostname : `${hostname}.${subdomain}.${pod.namespace}.svc.${CLUSTER_DOMAIN} ${hostname}`;
  const hosts = ['127.0.0.1 localhost', '::1 localhost ip6-localhost ip6-loopback', `${address.ipv4} ${names}`, `${address.ipv6} ${names}`];
  writeFileSync(`${directory}/hosts`, `${hosts.join('\n')}\n`);
  const node = world.nodes.find((one) => one.name === pod.node);
  const server = node?.bridge.ipv4 ?? externalGateway(world.number).ipv4;
  const search = node === undefined ? '' : `search ${pod.namespace}.svc.${CLUSTER_DOMAIN} svc.${CLUSTER_DOMAIN} ${CLUSTER_DOMAIN}\noptions ndots:5\n`;
  writeFileSync(`${directory}/resolv.conf`, `nameserver ${server}\n${search}`);
  for (const file of ['hosts', 'resolv.conf']) chmodSync(`${directory}/${file}`, 0o644);
}

/** Start the process that holds the pod's mount and UTS namespaces; resolves once they are made. */
async function startPause(pod: LabPod, { cgroup, directory }: { cgroup: string; directory: string }): Promise<ChildProcess> {
  using netns = Netns.open(`${NETNS_DIRECTORY}/${pod.netns}`);
  const argv = inCgroup(cgroup, ['unshare', '--mount', '--uts', '--propagation', 'private', 'sh', '-c', PAUSE, directory, pod.hostname]);
  const child = netns.run(() => spawn(argv[0] as string, argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] }));
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => {
      resolve();
    });
    child.once('exit', () => {
      reject(new Error(`the namespaces of pod ${pod.namespace}/${pod.name} cannot be made: ${errors.trim()}`));
    });
    child.once('error', reject);
  });
  return child;
}
