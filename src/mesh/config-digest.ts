/** A name for the content of a set of files, so that whoever wrote them can ask whether they are in force. */
import { createHash } from 'node:crypto';

/** SHA-256 over names and texts, in order of the names; hexadecimal. */
export function configDigest(files: readonly { readonly name: string; readonly text: string }[]): string {
  const hash = createHash('sha256');
  for (const { name, text } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) hash.update(`${name}\0${text}\0`);
  return hash.digest('hex');
}
