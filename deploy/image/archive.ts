/**
 * A container image of one layer as an archive that `ctr image import`, `podman load` and `skopeo copy oci-archive:` take.
 * The same files make the same digest. Source: OCI image specification 1.1, image layout.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { arch } from 'node:process';
import { tarOfDirectory, tarOfFiles } from './tar.ts';

const READ_BYTES = 1 << 20;
const ARCHITECTURES: Partial<Record<typeof arch, string>> = { x64: 'amd64', arm64: 'arm64' };

export interface ImageConfig {
  /** In full, as container runtimes look images up: docker.io/library/NAME:TAG. */
  reference: string;
  entrypoint: readonly string[];
  env?: Record<string, string>;
  workingDirectory?: string;
  /** `uid` or `uid:gid`; root when absent. */
  user?: string;
  labels?: Record<string, string>;
}

export interface Archive {
  path: string;
  /** Of the image's manifest, as registries and runtimes show it. */
  digest: string;
  layerBytes: number;
}

/** Write the archive of an image whose root is `directory` to `path`. */
export function writeArchive(directory: string, config: ImageConfig, path: string): Archive {
  const layerPath = `${path}.layer`;
  const layer = { digest: writeHashed(layerPath, tarOfDirectory(directory)), size: statSync(layerPath).size };
  const described = Buffer.from(JSON.stringify(imageConfig(config, layer.digest)));
  const manifest = Buffer.from(JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(described), size: described.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
  }));
  const index = Buffer.from(JSON.stringify({
    schemaVersion: 2,
    manifests: [{
      mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(manifest), size: manifest.length,
      annotations: { 'io.containerd.image.name': config.reference, 'org.opencontainers.image.ref.name': config.reference.split(':').at(-1) },
    }],
  }));
  writeHashed(path, tarOfFiles([
    whole('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')),
    whole('index.json', index),
    whole(blobName(digestOf(manifest)), manifest),
    whole(blobName(digestOf(described)), described),
    { name: blobName(layer.digest), content: () => chunks(layerPath), bytes: layer.size },
  ]));
  rmSync(layerPath);
  return { path, digest: digestOf(manifest), layerBytes: layer.size };
}

function imageConfig(config: ImageConfig, diffId: string): object {
  const { entrypoint, env = {}, workingDirectory, user, labels } = config;
  return {
    architecture: ARCHITECTURES[arch] ?? arch,
    os: 'linux',
    config: {
      Entrypoint: entrypoint,
      Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      ...(workingDirectory !== undefined && { WorkingDir: workingDirectory }),
      ...(user !== undefined && { User: user }),
      ...(labels !== undefined && { Labels: labels }),
    },
    rootfs: { type: 'layers', diff_ids: [diffId] },
  };
}

/** Write parts to a file; returns their digest. */
function writeHashed(path: string, parts: Iterable<Buffer>): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'w');
  try {
    for (const part of parts) {
      hash.update(part);
      for (let written = 0; written < part.length;) written += writeSync(fd, part, written);
    }
  } finally {
    closeSync(fd);
  }
  return `sha256:${hash.digest('hex')}`;
}

function *chunks(path: string): Generator<Buffer> {
  const fd = openSync(path, 'r');
  try {
    for (;;) {
      const chunk = Buffer.alloc(READ_BYTES);
      const bytes = readSync(fd, chunk);
      if (bytes === 0) return;
      yield chunk.subarray(0, bytes);
    }
  } finally {
    closeSync(fd);
  }
}

function whole(name: string, content: Buffer): { name: string; content: Buffer; bytes: number } {
  return { name, content, bytes: content.length };
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
