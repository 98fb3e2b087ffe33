/** bpf(2), one function per command that Orlop uses (linux/bpf.h). Programs and maps are loaded by bpftool and found here by their pins. */
import { constants } from 'node:os';
import { errno, libc, pointer, SysError } from './libc.ts';

const SYS_BPF = process.arch === 'x64' ? 321 : 280;
const BPF_MAP_LOOKUP_ELEM = 1;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_MAP_DELETE_ELEM = 3;
const BPF_MAP_GET_NEXT_KEY = 4;
const BPF_OBJ_PIN = 6;
const BPF_OBJ_GET = 7;
const BPF_OBJ_GET_INFO_BY_FD = 15;
const BPF_LINK_CREATE = 28;
const BPF_LINK_DETACH = 34;

/** enum bpf_attach_type, as far as used. */
export const ATTACH = Object.freeze({
  sockOps: 3,
  connect4: 10,
  connect6: 11,
  getpeername4: 29,
  getpeername6: 30,
  skLookup: 36,
});

/** union bpf_attr is larger in newer kernels; they take a shorter one, and older ones take this one while its tail is zero. */
const attr = Buffer.alloc(72);
const info = Buffer.alloc(64);

const syscall = libc.func('long syscall(long, int, _Inout_ uint8_t*, uint)');

export interface LinkInfo {
  readonly id: number;
  readonly programId: number;
  /** False once the link is detached, by hand or because its cgroup or network namespace is gone. */
  readonly attached: boolean;
}

/** Descriptor of the map, program or link pinned at `path`; undefined when nothing is. */
export function objGet(path: string): number | undefined {
  const bytes = Buffer.from(`${path}\0`);
  attr.fill(0);
  attr.writeBigUInt64LE(pointer(bytes), 0);
  const fd = call(BPF_OBJ_GET, bytes);
  if (fd >= 0) return fd;
  if (errno() === constants.errno.ENOENT) return undefined;
  throw new SysError('bpf', errno(), `open the BPF object pinned at ${path}`);
}

/** Pin the map, program or link `fd` at `path`, on a bpffs. */
export function objPin(fd: number, path: string): void {
  const bytes = Buffer.from(`${path}\0`);
  attr.fill(0);
  attr.writeBigUInt64LE(pointer(bytes), 0);
  attr.writeUInt32LE(fd, 8);
  if (call(BPF_OBJ_PIN, bytes) < 0) throw new SysError('bpf', errno(), `pin a BPF object at ${path}`);
}

/** Read the value of `key` into `value` (as long as the map's values are); false when the map has no such key. */
export function mapLookup(map: number, key: Buffer, value: Buffer): boolean {
  elementAttr(map, key, value);
  if (call(BPF_MAP_LOOKUP_ELEM, key, value) === 0) return true;
  if (errno() === constants.errno.ENOENT) return false;
  throw new SysError('bpf', errno(), 'look up a BPF map');
}

/** Set `key` to `value`, whether or not it exists. */
export function mapUpdate(map: number, key: Buffer, value: Buffer): void {
  elementAttr(map, key, value);
  if (call(BPF_MAP_UPDATE_ELEM, key, value) !== 0) throw new SysError('bpf', errno(), 'update a BPF map');
}

/** Remove `key`; false when the map has no such key. */
export function mapDelete(map: number, key: Buffer): boolean {
  elementAttr(map, key, undefined);
  if (call(BPF_MAP_DELETE_ELEM, key) === 0) return true;
  if (errno() === constants.errno.ENOENT) return false;
  throw new SysError('bpf', errno(), 'delete from a BPF map');
}

/** All keys of a map, each `keyBytes` long. Keys that come and go meanwhile may be missed. */
export function mapKeys(map: number, keyBytes: number): Buffer[] {
  const keys: Buffer[] = [];
  let previous: Buffer | undefined;
  for (;;) {
    const next = Buffer.alloc(keyBytes);
    elementAttr(map, previous, next);
    if (call(BPF_MAP_GET_NEXT_KEY, previous, next) !== 0) {
      if (errno() === constants.errno.ENOENT) return keys;
      throw new SysError('bpf', errno(), 'walk a BPF map');
    }
    keys.push(next);
    previous = next;
  }
}

/**
 * Attach a program to a cgroup or a network namespace (`target` is a descriptor of either); returns the link's descriptor.
 * Closing it detaches, unless the link is pinned. Several links may share an attach point.
 */
export function linkCreate(program: number, target: number, attachType: number, what: string): number {
  attr.fill(0);
  attr.writeUInt32LE(program, 0);
  attr.writeUInt32LE(target, 4);
  attr.writeUInt32LE(attachType, 8);
  const fd = call(BPF_LINK_CREATE);
  if (fd >= 0) return fd;
  const remedy = errno() === constants.errno.EPERM
    ? 'another program holds this attach point exclusively (`bpftool cgroup tree` names it), or CAP_BPF and CAP_NET_ADMIN are missing'
    : undefined;
  throw new SysError('bpf', errno(), `attach ${what}`, remedy);
}

/** What a link is attached with. The union of struct bpf_link_info begins with the cgroup's id or the netns' inode, 0 once detached. */
export function linkInfo(link: number): LinkInfo {
  info.fill(0);
  attr.fill(0);
  attr.writeUInt32LE(link, 0);
  attr.writeUInt32LE(info.length, 4);
  attr.writeBigUInt64LE(pointer(info), 8);
  if (call(BPF_OBJ_GET_INFO_BY_FD, info) !== 0) throw new SysError('bpf', errno(), 'read the state of a BPF link');
  return { id: info.readUInt32LE(4), programId: info.readUInt32LE(8), attached: info.readUInt32LE(16) !== 0 || info.readUInt32LE(20) !== 0 };
}

/** Detach a link while descriptors and pins of it may still exist (Linux 5.9). */
export function linkDetach(link: number): void {
  attr.fill(0);
  attr.writeUInt32LE(link, 0);
  if (call(BPF_LINK_DETACH) !== 0 && errno() !== constants.errno.ENOLINK) throw new SysError('bpf', errno(), 'detach a BPF link');
}

function elementAttr(map: number, key: Buffer | undefined, value: Buffer | undefined): void {
  attr.fill(0);
  attr.writeUInt32LE(map, 0);
  if (key !== undefined) attr.writeBigUInt64LE(pointer(key), 8);
  if (value !== undefined) attr.writeBigUInt64LE(pointer(value), 16);
}

/** `_held` are the buffers that `attr` points to: naming them here keeps them alive until the kernel has returned. */
function call(command: number, ..._held: readonly (Buffer | undefined)[]): number {
  return Number(syscall(SYS_BPF, command, attr, attr.length));
}
