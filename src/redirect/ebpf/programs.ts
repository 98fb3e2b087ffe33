/** The loaded programs and maps of one node: found pinned or loaded, attached to the root cgroup, watched, removed. */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ATTACH, linkCreate, linkDetach, linkInfo, mapLookup, objGet, objPin } from '../../sys/bpf.ts';
import { COUNTERS } from '../../sys/layout.ts';
import { closeFd } from '../../sys/socket.ts';
import { run } from '../command.ts';
import { cgroupRoot, ensureBpffs, entries, mapPin, nodeDirectory, objectDirectories, objectDirectory } from './pins.ts';

export const MAPS = ['pods', 'pod_addresses', 'listeners', 'cidrs', 'meant', 'accepted', 'handshakes', 'counters'] as const;
export type MapName = (typeof MAPS)[number];

/** Programs of the root cgroup, and where they are attached. */
const CGROUP_PROGRAMS = {
  connect4: ATTACH.connect4,
  connect6: ATTACH.connect6,
  getpeername4: ATTACH.getpeername4,
  getpeername6: ATTACH.getpeername6,
  socket_ops: ATTACH.sockOps,
} as const;
type CgroupProgram = keyof typeof CGROUP_PROGRAMS;
const CGROUP_PROGRAM_NAMES = Object.keys(CGROUP_PROGRAMS) as CgroupProgram[];

export interface ProgramsOptions {
  /** Name of the node; agents of different nodes may share a kernel. */
  readonly node: string;
  /** capture.bpf.o, as bpf/Makefile builds it. */
  readonly objectPath: string;
}

export class Programs {
  readonly directory: string;
  readonly #maps: Map<MapName, number>;
  readonly #programs: Map<string, number>;
  readonly #links = new Map<CgroupProgram, number>();

  /** Programs pinned in `directory` by this agent or an earlier one. Nothing is attached yet. */
  constructor(directory: string) {
    this.directory = directory;
    this.#maps = new Map(MAPS.map((name) => [name, openPin(mapPin(directory, name))]));
    this.#programs = new Map([...CGROUP_PROGRAM_NAMES, 'inbound'].map((name) => [name, openPin(join(directory, 'programs', name))]));
  }

  /** Load the programs, or adopt those an earlier agent of this node left, and attach them. */
  static open(options: ProgramsOptions): Programs {
    ensureBpffs();
    const directory = objectDirectory(options.node, options.objectPath);
    if (!existsSync(directory)) load(options.objectPath, directory);
    const programs = new Programs(directory);
    programs.attach();
    return programs;
  }

  map(name: MapName): number {
    const fd = this.#maps.get(name);
    if (fd === undefined) throw new Error(`no map ${name}`);
    return fd;
  }

  mapPath(name: MapName): string {
    return mapPin(this.directory, name);
  }

  /** The sk_lookup program, to be linked to each pod's namespace. */
  get inbound(): number {
    return this.#program('inbound');
  }

  get podLinksDirectory(): string {
    return join(this.directory, 'pods');
  }

  podLinkPath(cookie: bigint): string {
    return join(this.podLinksDirectory, `${cookie}`);
  }

  /** Attach what is not attached and pin what is not pinned. */
  attach(): void {
    mkdirSync(join(this.directory, 'links'), { recursive: true });
    mkdirSync(this.podLinksDirectory, { recursive: true });
    for (const name of CGROUP_PROGRAM_NAMES) if (this.#linkState(name) !== 'attached') this.#link(name);
    this.#pinAgain('maps', this.#maps);
    this.#pinAgain('programs', this.#programs);
  }

  /** What of the shared part is amiss, as pairs of what should be and what is. */
  check(): { expected: string; found: string }[] {
    const amiss = CGROUP_PROGRAM_NAMES.flatMap((name) => {
      const state = this.#linkState(name);
      return state === 'attached' ? [] : [{ expected: `BPF program ${name} attached to the root cgroup`, found: state }];
    });
    for (const [name] of this.#maps) {
      if (!existsSync(this.mapPath(name))) amiss.push({ expected: `BPF map ${name} pinned at ${this.mapPath(name)}`, found: 'no pin' });
    }
    return amiss;
  }

  /** How often the programs could not do their work, by name (COUNTERS). */
  counters(): Record<(typeof COUNTERS)[number], number> {
    const key = Buffer.alloc(4);
    const value = Buffer.alloc(8);
    const read = (index: number): number => {
      key.writeUInt32LE(index);
      mapLookup(this.map('counters'), key, value);
      return Number(value.readBigUInt64LE());
    };
    return Object.fromEntries(COUNTERS.map((name, index) => [name, read(index)])) as Record<(typeof COUNTERS)[number], number>;
  }

  /** Let go of the descriptors. What is pinned stays in force. */
  close(): void {
    for (const fds of [this.#maps, this.#programs, this.#links]) {
      for (const fd of fds.values()) closeFd(fd);
      fds.clear();
    }
  }

  #program(name: string): number {
    const fd = this.#programs.get(name);
    if (fd === undefined) throw new Error(`no program ${name}`);
    return fd;
  }

  #linkPath(name: CgroupProgram): string {
    return join(this.directory, 'links', name);
  }

  #linkState(name: CgroupProgram): 'attached' | 'detached' | 'no pin' {
    const link = this.#links.get(name) ?? objGet(this.#linkPath(name));
    if (link === undefined) return 'no pin';
    this.#links.set(name, link);
    if (!linkInfo(link).attached) return 'detached';
    return existsSync(this.#linkPath(name)) ? 'attached' : 'no pin';
  }

  #link(name: CgroupProgram): void {
    const old = this.#links.get(name);
    if (old !== undefined && !linkInfo(old).attached) {
      this.#links.delete(name);
      closeFd(old);
    }
    const link = this.#links.get(name) ?? attachToRoot(this.#program(name), name);
    this.#links.set(name, link);
    repin(link, this.#linkPath(name));
  }

  #pinAgain(kind: 'maps' | 'programs', fds: ReadonlyMap<string, number>): void {
    mkdirSync(join(this.directory, kind), { recursive: true });
    for (const [name, fd] of fds) {
      const path = join(this.directory, kind, name);
      if (!existsSync(path)) objPin(fd, path);
    }
  }
}

/** Pin `fd` at `path` in the place of whatever is there. */
export function repin(fd: number, path: string): void {
  rmSync(path, { force: true });
  mkdirSync(dirname(path), { recursive: true });
  objPin(fd, path);
}

/** Other versions of the programs, left by earlier agents of `node`; of no `current` one: all. */
export function otherDirectories(node: string, current?: string): string[] {
  return objectDirectories(node).filter((path) => path !== current);
}

/** Detach and unpin everything in a directory of pins. */
export function removeDirectory(directory: string): void {
  for (const kind of ['links', 'pods']) {
    for (const name of entries(join(directory, kind))) removeLink(join(directory, kind, name));
  }
  rmSync(directory, { recursive: true, force: true });
}

/** Detach and unpin every program of `node`, whether or not an agent runs. Returns whether there were any. */
export function removeNode(node: string): boolean {
  const directory = nodeDirectory(node);
  if (!existsSync(directory)) return false;
  for (const path of objectDirectories(node)) removeDirectory(path);
  rmSync(directory, { recursive: true, force: true });
  // The directory of all nodes goes with the last of them.
  if (entries(dirname(directory)).length === 0) rmSync(dirname(directory), { recursive: true, force: true });
  return true;
}

/** Detach the link pinned at `path`, if any, and remove the pin: another process may still hold the link's descriptor. */
export function removeLink(path: string): void {
  const link = objGet(path);
  if (link !== undefined) {
    linkDetach(link);
    closeFd(link);
  }
  rmSync(path, { force: true });
}

/** Into a directory of its own first, so that a load that fails half-way leaves nothing that looks complete. */
function load(objectPath: string, directory: string): void {
  if (!existsSync(objectPath)) throw new Error(`${objectPath} does not exist; build it with \`make -C bpf\``);
  const partial = `${directory}-${process.pid}`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    run('bpftool', ['prog', 'loadall', objectPath, join(partial, 'programs'), 'pinmaps', join(partial, 'maps')]);
    renameSync(partial, directory);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
}

function attachToRoot(program: number, name: CgroupProgram): number {
  const path = cgroupRoot();
  if (path === undefined) throw new Error('no cgroup v2 is mounted; mount one (`mount -t cgroup2 none /sys/fs/cgroup/unified`) or use --redirect iptables');
  const cgroup = openSync(path, 'r');
  try {
    return linkCreate(program, cgroup, CGROUP_PROGRAMS[name], `the BPF program ${name} to ${path}`);
  } finally {
    closeSync(cgroup);
  }
}

function openPin(path: string): number {
  const fd = objGet(path);
  if (fd === undefined) throw new Error(`nothing is pinned at ${path}; remove what is left of it (\`orlop redirect clean --node NAME\`) and start again`);
  return fd;
}
