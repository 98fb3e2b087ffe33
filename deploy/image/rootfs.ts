/**
 * The files of Orlop's image: Node, the built program with what it needs at run time, the BPF programs, and from Debian's packages only the
 * commands that the agent calls with the libraries these link to. No shell and no package manager.
 */
import { chmodSync, copyFileSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join, normalize } from 'node:path';
import { must } from './command.ts';
import type { Packages } from './packages.ts';

/** Where Debian's packages have the commands that src/redirect calls. */
const PROGRAMS = ['/usr/sbin/bpftool', '/bin/mount', '/usr/sbin/nft'];
/** Both kinds of iptables, under all their names: the agent takes the kind that a pod's namespace uses already. */
const IPTABLES = /^(ip6?tables-(nft|legacy)(-save|-restore)?|xtables-(nft|legacy)-multi)$/;
/** What is left out of npm packages: types, source maps, sources of native code, documents. */
const RUN_TIME_FILES = new Set(['.js', '.cjs', '.mjs', '.json', '.node', '.proto']);
const HOME = '/usr/lib/orlop';
/** Since Debian 12 these are links to the same names below /usr. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

export const DEBIAN_PACKAGES = ['libc6', 'libstdc++6', 'libatomic1', 'iptables', 'nftables', 'bpftool', 'mount', 'ca-certificates'];

/** User of whatever needs no privileges: the control plane. Agents are run as root by their DaemonSet. */
export const USER = '65532';

export interface Sources {
  checkout: string;
  /** What tsconfig.build.json compiles to. */
  compiled: string;
  packages: Packages;
}

/** Fill the empty `directory`. */
export function makeRootfs(directory: string, { checkout, compiled, packages }: Sources): void {
  const root = new Rootfs(directory, packages.directory);
  putOrlop(directory, checkout, compiled);
  for (const program of PROGRAMS) root.putProgram(program);
  for (const name of readdirSync(`${packages.directory}/usr/sbin`).filter((one) => IPTABLES.test(one)).sort()) root.putProgram(`/usr/sbin/${name}`);
  for (const name of ['iptables', 'ip6tables']) for (const kind of ['', '-save', '-restore']) symlinkSync('xtables-nft-multi', `${directory}/usr/sbin/${name}${kind}`);
  for (const name of root.extensions()) root.putProgram(name);
  root.putLibraries(`${directory}/usr/bin/node`);
  putCertificates(directory, packages.directory);
  root.putNotices(packages);
  putAccounts(directory);
}

/** Node and Orlop, laid out as in a checkout. */
function putOrlop(directory: string, checkout: string, compiled: string): void {
  for (const name of ['bpf/capture.bpf.o', 'cni/orlop-cni', 'keeper/orlop-keeper', 'node_modules/node/bin/node']) {
    if (!existsSync(join(checkout, name))) throw new Error(`${name} is missing; run make setup first`);
  }
  const home = directory + HOME;
  mkdirSync(`${directory}/usr/bin`, { recursive: true });
  cpSync(join(checkout, 'node_modules/node/bin/node'), `${directory}/usr/bin/node`);
  must('llvm-strip', [`${directory}/usr/bin/node`]);
  copyRunTime(compiled, `${home}/dist`);
  for (const path of runTimePackages(checkout)) copyRunTime(join(checkout, path), join(home, path));
  for (const name of ['bpf/capture.bpf.o', 'cni/orlop-cni', 'package.json']) cpSync(join(checkout, name), join(home, name));
  cpSync(join(checkout, 'keeper/orlop-keeper'), `${directory}/usr/bin/orlop-keeper`);
  // What bin/orlop does in a checkout, without a shell; its options of Node are in the image's environment.
  writeFileSync(`${directory}/usr/bin/orlop`, `#!/usr/bin/node\nimport '${HOME}/dist/cli/main.js';\n`, { mode: 0o755 });
}

/** npm packages that are needed when it runs and are installed here; Node is elsewhere. */
function runTimePackages(checkout: string): string[] {
  const { packages } = JSON.parse(readFileSync(join(checkout, 'package-lock.json'), 'utf8')) as { packages: Record<string, { dev?: boolean; devOptional?: boolean }> };
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && dev !== true && devOptional !== true && !/node_modules\/node(-bin-setup)?$/.test(path) && existsSync(join(checkout, path)))
    .map(([path]) => path);
}

function copyRunTime(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (source) => {
    const name = basename(source);
    if (lstatSync(source).isDirectory()) return source === from || (name !== 'node_modules' && name !== 'test');
    return RUN_TIME_FILES.has(extname(name)) || /^(licen[cs]e|notice)/i.test(name);
  } });
}

class Rootfs {
  readonly #to: string;
  readonly #from: string;
  readonly #put = new Set<string>();

  constructor(to: string, from: string) {
    this.#to = to;
    this.#from = from;
    for (const name of MERGED) {
      mkdirSync(join(to, 'usr', name), { recursive: true });
      symlinkSync(`usr/${name}`, join(to, name));
    }
  }

  /** Copy a file, what it links to, and the libraries it needs; links stay links. */
  putProgram(path: string): void {
    if (this.#putFile(path)) this.putLibraries(join(this.#from, path));
  }

  /** Copy the libraries that the program at `path` (on this machine) needs, as the packages' own loader finds them. */
  putLibraries(path: string): void {
    const inside = '/orlop-program';
    copyFileSync(path, this.#from + inside);
    const loader = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'].find((name) => existsSync(this.#from + name));
    if (loader === undefined) throw new Error('the packages have no loader of programs');
    const listed = must('chroot', [this.#from, loader, '--list', inside]);
    if (listed.includes('not found')) throw new Error(`${path} needs libraries that no package of the image has:\n${listed}`);
    for (const [, library] of listed.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) if (library !== undefined) this.#putFile(library);
    this.#putFile(loader);
  }

  /** Libraries that iptables loads by itself for what its rules say. */
  extensions(): string[] {
    const folders = readdirSync(`${this.#from}/usr/lib`).map((name) => `/usr/lib/${name}/xtables`).filter((path) => existsSync(this.#from + path));
    return folders.flatMap((folder) => readdirSync(this.#from + folder).sort().map((name) => `${folder}/${name}`));
  }

  /** Licences, and for scanners which packages the files are from, as images without a package manager have it. */
  putNotices({ fields }: Packages): void {
    for (const [name, text] of Object.entries(fields)) {
      this.#write(`/var/lib/dpkg/status.d/${name}`, text);
      const copyright = `/usr/share/doc/${name}/copyright`;
      if (existsSync(this.#from + copyright)) this.#write(copyright, readFileSync(this.#from + copyright, 'utf8'));
    }
  }

  #write(path: string, text: string): void {
    mkdirSync(this.#to + dirname(path), { recursive: true });
    writeFileSync(this.#to + path, text);
  }

  /** Returns whether it is a file that was not there yet; a link is followed. */
  #putFile(path: string): boolean {
    const name = path.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/');
    if (this.#put.has(name)) return false;
    this.#put.add(name);
    const source = [path, name, name.slice('/usr'.length)].map((one) => this.#from + one).find((one) => lstatSync(one, { throwIfNoEntry: false }) !== undefined);
    if (source === undefined) throw new Error(`no package of the image has ${path}`);
    const target = this.#to + name;
    mkdirSync(dirname(target), { recursive: true });
    if (!lstatSync(source).isSymbolicLink()) {
      cpSync(source, target);
      return true;
    }
    const link = readlinkSync(source);
    symlinkSync(link, target);
    return this.#putFile(link.startsWith('/') ? link : normalize(join(dirname(source.slice(this.#from.length)), link)));
  }
}

/** The roots that Node and OpenSSL's own programs trust besides the mesh's. */
function putCertificates(directory: string, packages: string): void {
  const folder = `${packages}/usr/share/ca-certificates/mozilla`;
  const bundle = readdirSync(folder).sort().map((name) => readFileSync(`${folder}/${name}`, 'utf8'));
  mkdirSync(`${directory}/etc/ssl/certs`, { recursive: true });
  writeFileSync(`${directory}/etc/ssl/certs/ca-certificates.crt`, bundle.join(''));
}

function putAccounts(directory: string): void {
  writeFileSync(`${directory}/etc/passwd`, `root:x:0:0:root:/:/sbin/nologin\norlop:x:${USER}:${USER}:orlop:/:/sbin/nologin\n`);
  writeFileSync(`${directory}/etc/group`, `root:x:0:\norlop:x:${USER}:\n`);
  for (const name of ['tmp', 'run', 'proc', 'sys', 'dev']) mkdirSync(join(directory, name), { recursive: true });
  chmodSync(`${directory}/tmp`, 0o1777);
}
