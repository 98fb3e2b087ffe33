/** The public roots in a file, for agents to pin; written anew whenever the roots change. */
import { renameSync, writeFileSync } from 'node:fs';
import type { Logger } from '../core/log.ts';
import type { Watch } from '../core/watch.ts';

/** Write now, and follow. Returns how to stop. Throws when the file cannot be written now; later failures are logged. */
export function writeRoots(path: string, roots: Watch<string>, log: Logger): () => void {
  write(path, roots.get());
  return roots.follow((pem) => {
    try {
      write(path, pem);
      log.info({ file: path }, 'the file of roots was written anew');
    } catch (error) {
      log.error({ file: path, error: String(error) }, 'the file of roots could not be written; agents that start later may not trust this CA');
    }
  });
}

/** In one step, so that no reader finds half of it. */
function write(path: string, pem: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, pem, { mode: 0o644 });
  renameSync(temporary, path);
}
