/** Images that every node has: the one that holds pods' namespaces, and busybox for pods of tests. No registry is asked. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { mustRun } from '../../../src/lab/command.ts';
import { writeArchive } from '../../../deploy/image/archive.ts';
import { PAUSE_IMAGE } from './node-config.ts';

export const BUSYBOX_IMAGE = 'docker.io/library/busybox:test';

/** Write the archives into `directory`; `home` is what scripts/kube.sh built. Returns their paths. */
export async function writeBaseImages(home: string, directory: string): Promise<string[]> {
  const [pause, busybox] = [`${directory}/pause`, `${directory}/busybox`];
  mkdirSync(pause, { recursive: true });
  copyFileSync(`${home}/bin/pause`, `${pause}/pause`);
  mkdirSync(`${busybox}/bin`, { recursive: true });
  for (const name of ['etc', 'tmp', 'var/www']) mkdirSync(`${busybox}/${name}`, { recursive: true });
  chmodSync(`${busybox}/tmp`, 0o1777);
  for (const file of busyboxFiles(`${home}/debian`)) {
    mkdirSync(dirname(`${busybox}/${file}`), { recursive: true });
    copyFileSync(`${home}/debian/${file}`, `${busybox}/${file}`);
  }
  const applets = (await mustRun(`${home}/debian/bin/busybox`, ['--list'])).split('\n').filter((name) => name !== '' && name !== 'busybox');
  for (const applet of applets) symlinkSync('busybox', `${busybox}/bin/${applet}`);
  const env = { PATH: '/bin' };
  return [
    writeArchive(pause, { reference: PAUSE_IMAGE, entrypoint: ['/pause'], env }, `${directory}/pause.tar`).path,
    writeArchive(busybox, { reference: BUSYBOX_IMAGE, entrypoint: [], env }, `${directory}/busybox.tar`).path,
  ];
}

/** The program, its loader and its libraries. Its static relative cannot resolve names; in both, `wget -T` crashes (Debian 12): use `timeout`. */
function busyboxFiles(debian: string): string[] {
  const [libraries = ''] = readdirSync(`${debian}/lib`).filter((name) => name.endsWith('-linux-gnu'));
  const loader = ['lib64/ld-linux-x86-64.so.2', 'lib/ld-linux-aarch64.so.1'].filter((name) => existsSync(`${debian}/${name}`));
  return ['bin/busybox', ...loader, `lib/${libraries}/libc.so.6`, `lib/${libraries}/libresolv.so.2`];
}
