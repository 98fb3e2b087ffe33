/** Debian packages with all they depend on, unpacked into a directory without being installed. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must } from './command.ts';

export interface Packages {
  directory: string;
  /** Name to the description that the package carries. */
  fields: Record<string, string>;
}

/** Download and unpack into `directory`. */
export function unpackPackages(directory: string, names: readonly string[]): Packages {
  const [archives, status, root] = [join(directory, 'archives'), join(directory, 'status'), join(directory, 'root')];
  mkdirSync(`${archives}/partial`, { recursive: true });
  mkdirSync(root);
  // As if nothing were installed: every package that one of them depends on is taken too.
  writeFileSync(status, '');
  must('apt-get', [
    '-qq', '-y', '--download-only', '--no-install-recommends', '-o', `Dir::State::status=${status}`, '-o', `Dir::Cache::archives=${archives}`,
    '-o', 'APT::Sandbox::User=root', '-o', 'Debug::NoLocking=1', 'install', ...names,
  ]);
  const fields: Record<string, string> = {};
  for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb')).sort()) {
    must('dpkg-deb', ['--extract', join(archives, file), root]);
    fields[file.replace(/_.*/, '')] = must('dpkg-deb', ['--field', join(archives, file)]);
  }
  return { directory: root, fields };
}
