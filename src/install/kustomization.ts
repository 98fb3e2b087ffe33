/**
 * The objects of deploy/, or of a user's own kustomization on top of it. The files are the only place where they stand: `kubectl apply -k` and
 * `orlop install` make the same of them. They are put together by kubectl, which has kustomize in it.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseAllDocuments } from 'yaml';
import type { Manifest } from './manifest.ts';

/** Beside dist/ or src/, as in a checkout and in the package. */
const DEPLOY = join(import.meta.dirname, '../../deploy');
/** As deploy/base names the image. */
const IMAGE = 'docker.io/library/orlop';

export interface Wish {
  /** A kustomization in place of deploy/. */
  readonly directory?: string | undefined;
  readonly namespace?: string | undefined;
  /** `registry.example/orlop:0.1.0`, or with a digest. */
  readonly image?: string | undefined;
}

/** Rejects with a sentence when kubectl is missing, or says that something is wrong with the files. */
export async function readKustomization({ directory = DEPLOY, namespace, image }: Wish): Promise<Manifest[]> {
  if (!existsSync(join(directory, 'kustomization.yaml'))) throw new Error(`there is no kustomization.yaml in ${directory}; give the folder of one (-k), or run orlop from a checkout or package that has deploy/`);
  // An overlay of its own, as kustomize only takes what is below or beside the file that names it.
  const overlay = mkdtempSync(join(realpathSync(tmpdir()), 'orlop-install-'));
  try {
    const images = image === undefined ? [] : [imageChange(image)];
    writeFileSync(join(overlay, 'kustomization.yaml'), JSON.stringify({ resources: [relative(overlay, realpathSync(directory))], images, ...(namespace !== undefined && { namespace }) }));
    return parseObjects(await kubectl(['kustomize', overlay]));
  } finally {
    rmSync(overlay, { recursive: true });
  }
}

/** The definitions of deploy/crds. */
export async function readDefinitions(): Promise<Manifest[]> {
  return parseObjects(await kubectl(['kustomize', join(DEPLOY, 'crds')]));
}

function parseObjects(yaml: string): Manifest[] {
  return parseAllDocuments(yaml).map((document) => document.toJS() as Manifest);
}

/** A name may have a port (`host:5000/orlop`), so the last colon after the last slash is the tag's. */
function imageChange(image: string): Readonly<Record<string, string>> {
  const { newName = '', newTag, digest } = /^(?<newName>.+?)(?::(?<newTag>[^:/@]+))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$/.exec(image)?.groups ?? {};
  return { name: IMAGE, newName, ...(newTag !== undefined && { newTag }), ...(digest !== undefined && { digest }) };
}

async function kubectl(argv: readonly string[]): Promise<string> {
  const child = spawn('kubectl', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new Error('kubectl is not here; install it (kubernetes.io/docs/tasks/tools), it puts the files of deploy/ together') : error);
    });
    child.once('close', resolve);
  });
  const [out, said, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) throw new Error(said.trim().replace(/^error: /, ''));
  return out;
}
