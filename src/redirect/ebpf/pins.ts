/**
 * Where things are pinned, on one drawing:
 *
 *   /sys/fs/bpf/orlop/<node>/<object>/maps/<map>          shared by the programs, read by workers
 *                                    /programs/<program>
 *                                    /links/<program>     attached to the root of cgroup v2
 *                                    /pods/<cookie>       sk_lookup link of the namespace with that cookie
 *
 * The path is the owner: agents of different nodes on one kernel never meet, and an agent whose programs differ (<object> is
 * a hash of the file) finds its predecessor's beside its own and takes over pod by pod.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../command.ts';

const BPFFS = '/sys/fs/bpf';
/** A hash, see objectDirectory. */
const OBJECT_NAME = /^[0-9a-f]{12}$/;
const NODE_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Directory of everything of one node. Throws for a name that could lead elsewhere. */
export function nodeDirectory(node: string): string {
  if (!isNodeName(node)) throw new Error(`"${node}" is not a node name: lower-case letters, digits, "-" and "." are allowed`);
  // bpffs takes no dots in names.
  return join(BPFFS, 'orlop', node.replaceAll('.', '_'));
}

/** Complete sets of programs of one node. While a set is being loaded its directory has another name. */
export function objectDirectories(node: string): string[] {
  return completeIn(nodeDirectory(node));
}

/** Can there be programs of a node of this name? */
export function isNodeName(node: string): boolean {
  return NODE_NAME.test(node);
}

/** Complete sets of programs of all nodes on this kernel. */
export function allObjectDirectories(): string[] {
  const nodes = join(BPFFS, 'orlop');
  return entries(nodes).flatMap((node) => completeIn(join(nodes, node)));
}

export function objectDirectory(node: string, objectPath: string): string {
  return join(nodeDirectory(node), createHash('sha256').update(readFileSync(objectPath)).digest('hex').slice(0, 12));
}

/** Of a map, in the directory of a set of programs. */
export function mapPin(directory: string, name: string): string {
  return join(directory, 'maps', name);
}

/** Mount the BPF file system where it is not: containers and minimal systems come without. */
export function ensureBpffs(): void {
  if (!mounts().some(({ type, path }) => type === 'bpf' && path === BPFFS)) run('mount', ['-t', 'bpf', 'bpf', BPFFS]);
}

/** Root of the cgroup v2 hierarchy: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hosts that still have v1 beside it. */
export function cgroupRoot(): string | undefined {
  return mounts().find(({ type }) => type === 'cgroup2')?.path;
}

/** Names in a directory; none when there is no such directory. */
export function entries(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

function completeIn(directory: string): string[] {
  return entries(directory).filter((name) => OBJECT_NAME.test(name)).map((name) => join(directory, name));
}

function mounts(): { path: string; type: string }[] {
  return readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => {
    const [, path = '', type = ''] = line.split(' ');
    return { path, type };
  });
}
