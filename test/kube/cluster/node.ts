/** A node of the cluster: network, mount, process, host name, IPC and cgroup namespaces of its own, with containerd, a kubelet and kube-proxy in them. */
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { hierarchies, inGroups, makeGroups } from './cgroups.ts';
import { ClusterError } from './cluster-error.ts';
import { Component, onlyChild } from './component.ts';
import { CLUSTER_DOMAIN, DNS_SERVICE_ADDRESS } from './names.ts';
import type { ClusterNames, ClusterState, NodeNames } from './names.ts';
import { cniConfig, containerdConfig, kubeletConfig, kubeProxyConfig } from './node-config.ts';
import { nodeRootScript, readyFile } from './node-root.ts';

const ROOT_TIMEOUT_MS = 10_000;
const CONTAINERD_TIMEOUT_MS = 20_000;
const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

export class KubeNode {
  readonly names: NodeNames;
  readonly #cluster: ClusterNames;
  readonly #state: ClusterState;

  constructor(cluster: ClusterNames, state: ClusterState, index: number) {
    this.#cluster = cluster;
    this.#state = state;
    this.names = cluster.node(index, state.number);
  }

  get name(): string {
    return this.names.name;
  }

  /** Do its namespaces exist? */
  get running(): boolean {
    return this.#init([]).running;
  }

  /** Make the namespaces and the node's view of the machine; its network namespace is there already. */
  async make(): Promise<void> {
    const { directory, netns, name, podCidr } = this.names;
    mkdirSync(directory);
    makeGroups(this.#group);
    const script = nodeRootScript({
      directory,
      shared: [this.#cluster.keys, this.#state.home],
      files: {
        '/etc/hostname': name,
        '/etc/hosts': `127.0.0.1 localhost\n${this.names.address} ${name}`,
        '/etc/machine-id': Buffer.from(name.padEnd(16, '.')).toString('hex').slice(0, 32),
        '/etc/resolv.conf': `nameserver ${DNS_SERVICE_ADDRESS}`,
        '/etc/cni/net.d/10-bridge.conflist': cniConfig(podCidr),
        '/etc/containerd/config.toml': containerdConfig(CONTAINERD_SOCKET),
        '/etc/kubernetes/kubelet.json': kubeletConfig({ caPath: `${this.#cluster.keys}/ca.crt`, runtimeSocket: CONTAINERD_SOCKET, dns: DNS_SERVICE_ADDRESS, domain: CLUSTER_DOMAIN }),
        '/etc/kubernetes/kube-proxy.json': kubeProxyConfig({ node: name, address: this.names.address, kubeconfigPath: `${this.#cluster.keys}/kube-proxy.kubeconfig` }),
      },
      links: { '/opt/cni/bin': readdirSync(`${this.#debian}/lib/cni`).map((plugin) => `${this.#debian}/lib/cni/${plugin}`) },
      init: `${this.#state.home}/bin/pause`,
    });
    const init = this.#init([
      'nsenter', `--net=/run/netns/${netns}`, 'unshare', '--mount', '--uts', '--ipc', '--pid', '--cgroup', '--fork', 'sh', '-c', `hostname ${name}\n${script}`,
    ]);
    init.start();
    await init.until(() => existsSync(readyFile(directory)), ROOT_TIMEOUT_MS);
  }

  async startContainerd(): Promise<void> {
    const containerd = this.component('containerd');
    containerd.start();
    await containerd.until(async () => (await this.#ctr(['version'])) === 0, CONTAINERD_TIMEOUT_MS);
  }

  /** Put an image archive into the node's store. */
  async loadImage(archivePath: string): Promise<void> {
    const errors: string[] = [];
    const code = await this.#ctr(['--namespace', 'k8s.io', 'images', 'import', '--snapshotter', 'overlayfs', '-'], archivePath, (text) => errors.push(text));
    if (code !== 0) throw new ClusterError(`${archivePath} cannot be loaded into ${this.name}: ${errors.join('')}`);
  }

  /** One of the node's programs: containerd, kubelet, kube-proxy. */
  component(program: 'containerd' | 'kubelet' | 'kube-proxy'): Component {
    const { name, address } = this.names;
    const bin = `${this.#state.home}/bin`;
    const argv = {
      containerd: [`${this.#debian}/bin/containerd`, '--config', '/etc/containerd/config.toml'],
      kubelet: [
        `${bin}/kubelet`, '--config=/etc/kubernetes/kubelet.json', `--kubeconfig=${this.#cluster.keys}/${name}.kubeconfig`, `--hostname-override=${name}`, `--node-ip=${address}`,
      ],
      'kube-proxy': [`${bin}/kube-proxy`, '--config=/etc/kubernetes/kube-proxy.json'],
    }[program];
    return this.inside({ ...this.#files(program), argv });
  }

  /** A program that runs in the node's namespaces, as a process of the node itself. */
  inside(spec: { name: string; argv: readonly string[]; logPath: string; pidPath: string }): Component {
    return new Component({ ...spec, groups: this.#innerGroups(), entry: this.#entry(), env: this.#environment() });
  }

  /** The command line that runs `argv` on the node, as its root. */
  argv(argv: readonly string[]): string[] {
    return inGroups(this.#innerGroups(), [...this.#entry(), ...argv]);
  }

  #init(argv: readonly string[]): Component {
    return new Component({ ...this.#files('init'), groups: hierarchies().map(({ path }) => `${path}/${this.#group}`), argv });
  }

  async #ctr(args: readonly string[], inputPath?: string, onError: (text: string) => void = () => undefined): Promise<number> {
    const [command = '', ...rest] = this.argv([`${this.#debian}/bin/ctr`, '--address', CONTAINERD_SOCKET, ...args]);
    const child = spawn(command, rest, { stdio: ['pipe', 'ignore', 'pipe'], env: { ...process.env, ...this.#environment() } });
    child.stderr.setEncoding('utf8').on('data', onError);
    child.stdin.on('error', () => undefined);
    if (inputPath === undefined) child.stdin.end();
    else createReadStream(inputPath).pipe(child.stdin);
    return new Promise((resolve) => {
      child.on('close', (code) => {
        resolve(code ?? 1);
      });
    });
  }

  get #group(): string {
    return `${this.#cluster.cgroup}/${this.name}`;
  }

  get #debian(): string {
    return `${this.#state.home}/debian/usr`;
  }

  #files(program: string): { name: string; logPath: string; pidPath: string } {
    const name = `${program}/${this.name}`;
    return { name, logPath: this.#cluster.log(name), pidPath: this.#cluster.pid(name) };
  }

  /** Where the node's own processes are: in v2, beside the pods' groups. */
  #innerGroups(): string[] {
    return hierarchies().map(({ path, version }) => `${path}/${this.#group}${version === 2 ? '/init' : ''}`);
  }

  #entry(): string[] {
    const holder = onlyChild(Number(readFileSync(this.#files('init').pidPath, 'utf8')));
    if (holder === undefined) throw new ClusterError(`node ${this.name} is gone`);
    return ['nsenter', `--target=${holder}`, '--mount', '--net', '--uts', '--ipc', '--pid', '--cgroup', '--wdns=/', '--'];
  }

  #environment(): Record<string, string> {
    const libraries = readdirSync(`${this.#debian}/lib`).filter((name) => name.endsWith('-linux-gnu')).map((name) => `${this.#debian}/lib/${name}`);
    return {
      PATH: [`${this.#debian}/bin`, `${this.#debian}/sbin`, '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'].join(':'),
      LD_LIBRARY_PATH: libraries.join(':'), HOME: '/root',
    };
  }
}
