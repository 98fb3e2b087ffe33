/** deploy/crds is what scripts/crds.ts makes of the schemas as they are. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { crdFiles } from '../../scripts/crds.ts';

const DIRECTORY = join(import.meta.dirname, '../../deploy/crds');

it('deploy/crds is up to date (else: node scripts/crds.ts)', () => {
  const files = crdFiles();
  expect(readdirSync(DIRECTORY).sort()).toEqual([...files.keys()].sort());
  for (const [name, text] of files) expect(readFileSync(join(DIRECTORY, name), 'utf8') === text, `${name} is not what src/mesh says`).toBe(true);
});
