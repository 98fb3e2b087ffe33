import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS, MeshError } from '../../src/core/errors.ts';

describe('errors', () => {
  it('are all in docs/errors.md, as they are', () => {
    const rows = readFileSync(join(import.meta.dirname, '../../docs/errors.md'), 'utf8').split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| code'));
    expect(rows).toEqual(Object.entries(ERRORS).map(([code, { status, flag, source, details, sentence }]) => `| ${code} | ${status} | ${flag} | ${source} | ${details} | ${sentence} |`));
  });

  it('cost no stack trace, and leave other errors theirs', () => {
    expect(new MeshError('overflow', { reason: 'maxConnections 1' }).stack).not.toMatch(/\n\s+at /);
    expect(new Error('ours').stack).toMatch(/\n\s+at /);
  });
});
