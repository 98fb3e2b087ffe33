/** Where the lab runs from: the directory that pods' commands start in, and the programs of its own that it starts. */
import { extname, join } from 'node:path';
import type { LabPod } from './world.ts';

/** Root of the checkout (or of the installed package): two levels above src/lab, and above dist/lab. */
export const CHECKOUT = join(import.meta.dirname, '../..');

export const ORLOP = join(CHECKOUT, 'bin/orlop');

/** The supervisor's program, beside this file: a source in development, compiled in dist/. */
export const SUPERVISE = join(import.meta.dirname, `supervise${extname(import.meta.filename)}`);

/** `node` means the pinned one everywhere in a lab. */
const PATH = `${join(CHECKOUT, 'node_modules/.bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/** Environment of every process that the lab starts. */
export function baseEnvironment(): Record<string, string> {
  return { PATH, HOME: '/root', LANG: 'C.UTF-8' };
}

/** Environment of a pod's processes: `own` is its container's, `scratch` a directory that ends with the pod. */
export function podEnvironment(pod: LabPod, own: Record<string, string>, scratch: string): Record<string, string> {
  return { ...baseEnvironment(), HOSTNAME: pod.hostname, TMPDIR: scratch, ...own };
}
