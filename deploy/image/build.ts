/**
 * Builds Orlop's image from this checkout (after `make setup`) without a registry or a container runtime.
 *   build.ts OUT.tar [TAG]     an archive for `ctr -n k8s.io images import`, `podman load -i`, `skopeo copy oci-archive:OUT.tar docker://...`
 *   build.ts --rootfs DIR      only its files, into a directory that does not exist yet: what deploy/Dockerfile copies
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeArchive } from './archive.ts';
import type { Archive, ImageConfig } from './archive.ts';
import { must } from './command.ts';
import { unpackPackages } from './packages.ts';
import { DEBIAN_PACKAGES, makeRootfs, USER } from './rootfs.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const EX_USAGE = 64;

/** How the image is started. */
export function imageConfig(tag: string): ImageConfig {
  const { version } = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as { version: string };
  return {
    reference: `docker.io/library/orlop:${tag}`,
    entrypoint: ['/usr/bin/orlop'],
    user: `${USER}:${USER}`,
    env: {
      PATH: '/usr/sbin:/usr/bin',
      // As bin/orlop starts it, where the reasons are.
      NODE_OPTIONS: '--disable-warning=ExperimentalWarning --max-semi-space-size=2',
      MALLOC_ARENA_MAX: '2',
      SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt',
    },
    labels: { 'org.opencontainers.image.title': 'orlop', 'org.opencontainers.image.version': version, 'org.opencontainers.image.licenses': 'Apache-2.0' },
  };
}

/** Build the image docker.io/library/orlop:TAG into an archive; the same checkout and packages make the same digest. */
export function buildImage(path: string, tag: string, checkout = CHECKOUT): Archive {
  return inWorkDirectory((work) => {
    buildRootfs(join(work, 'image'), work, checkout);
    return writeArchive(join(work, 'image'), imageConfig(tag), path);
  });
}

function buildRootfs(directory: string, work: string, checkout: string): void {
  mkdirSync(directory);
  chmodSync(directory, 0o755);
  const compiled = join(work, 'dist');
  must(join(checkout, 'node_modules/.bin/tsc'), ['-p', join(checkout, 'tsconfig.build.json'), '--outDir', compiled]);
  makeRootfs(directory, { checkout, compiled, packages: unpackPackages(work, DEBIAN_PACKAGES) });
}

function inWorkDirectory<T>(build: (work: string) => T): T {
  // Modes of files are part of the image, and not the builder's taste.
  const umask = process.umask(0o022);
  const work = mkdtempSync(join(tmpdir(), 'orlop-image-'));
  try {
    return build(work);
  } finally {
    rmSync(work, { recursive: true, force: true });
    process.umask(umask);
  }
}

function main([first, second]: readonly string[]): void {
  if (first === '--rootfs' && second !== undefined) {
    inWorkDirectory((work) => {
      buildRootfs(second, work, CHECKOUT);
    });
  } else if (first !== undefined && !first.startsWith('-')) {
    const tag = second ?? 'dev';
    const { digest, layerBytes } = buildImage(first, tag);
    process.stdout.write(`${first}: orlop:${tag} ${digest}, ${(layerBytes / 2 ** 20).toFixed(0)} MiB\n`);
  } else {
    process.stderr.write('usage: build.ts OUT.tar [TAG], or build.ts --rootfs DIR\n');
    process.exitCode = EX_USAGE;
  }
}

if (import.meta.main) main(process.argv.slice(2));
