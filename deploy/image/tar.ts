/** Tar archives of which the same input makes the same bytes: entries sorted, owners root, times the epoch's. Format: POSIX ustar. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;
const PREFIX_BYTES_MAX = 155;

const TYPES = { file: '0', symlink: '2', directory: '5' } as const;

interface Entry {
  /** Without a leading slash. */
  name: string;
  type: keyof typeof TYPES;
  mode: number;
  bytes: number;
  target?: string;
}

/** The parts of an archive with everything below `directory`, in order. Hard links are taken for files of their own; devices are refused. */
export function *tarOfDirectory(directory: string): Generator<Buffer> {
  yield* tarBelow(directory, '');
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

/** The parts of an archive with these files. */
export function *tarOfFiles(files: Iterable<{ name: string; content: Buffer | (() => Iterable<Buffer>); bytes: number }>): Generator<Buffer> {
  for (const { name, content, bytes } of files) {
    yield header({ name, type: 'file', mode: 0o644, bytes });
    if (Buffer.isBuffer(content)) yield content;
    else yield* content();
    yield padding(bytes);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

function *tarBelow(root: string, folder: string): Generator<Buffer> {
  // By code unit, not by locale: the order is the same on every machine.
  for (const file of readdirSync(join(root, folder)).sort()) {
    const name = folder === '' ? file : `${folder}/${file}`;
    const path = join(root, name);
    const stat = lstatSync(path);
    const mode = stat.mode & 0o7777;
    if (stat.isDirectory()) {
      yield header({ name: `${name}/`, type: 'directory', mode, bytes: 0 });
      yield* tarBelow(root, name);
    } else if (stat.isSymbolicLink()) {
      yield header({ name, type: 'symlink', mode: 0o777, bytes: 0, target: readlinkSync(path) });
    } else if (stat.isFile()) {
      const content = readFileSync(path);
      yield header({ name, type: 'file', mode, bytes: content.length });
      yield content;
      yield padding(content.length);
    } else {
      throw new Error(`${path} is neither a file, a directory nor a symbolic link`);
    }
  }
}

function header({ name, type, mode, bytes, target = '' }: Entry): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const { prefix, rest } = splitName(name);
  if (Buffer.byteLength(target) > NAME_BYTES_MAX) throw new Error(`the link ${name} points to a name too long for a tar archive: ${target}`);
  block.write(rest, 0);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(bytes, 11), 124);
  block.write(octal(0, 11), 136);
  // The checksum is taken with spaces in its own place.
  block.write(' '.repeat(8), 148);
  block.write(TYPES[type], 156);
  block.write(target, 157);
  block.write('ustar\x0000', 257);
  block.write(prefix, 345);
  block.write(`${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148);
  return block;
}

/** A long name is cut at a slash, its front kept in a field of its own. */
function splitName(name: string): { prefix: string; rest: string } {
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return { prefix: '', rest: name };
  for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1)) {
    const [prefix, rest] = [name.slice(0, at), name.slice(at + 1)];
    if (rest !== '' && Buffer.byteLength(prefix) <= PREFIX_BYTES_MAX && Buffer.byteLength(rest) <= NAME_BYTES_MAX) return { prefix, rest };
  }
  throw new Error(`the name ${name} is too long for a tar archive`);
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

function padding(bytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES);
}
