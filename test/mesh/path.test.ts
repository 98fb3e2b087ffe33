/** No spelling of a path is a way round a rule that names it. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizePath } from '../../src/mesh/path.ts';
import { templateFault, templateTest } from '../../src/mesh/path-template.ts';

describe('BASE', () => {
  it.each([
    ['/', '/'],
    ['/admin', '/admin'],
    ['/admin/', '/admin/'],
    ['/./admin', '/admin'],
    ['/x/../admin', '/admin'],
    ['/x/..', '/'],
    ['/admin/.', '/admin/'],
    ['/../../admin', '/admin'],
    ['/%2e/admin', '/admin'],
    ['/x/%2E%2e/admin', '/admin'],
    ['/x/.%2e/admin', '/admin'],
    ['/%61dmin', '/admin'],
    [String.raw`/x\..\admin`, '/admin'],
    [String.raw`\admin`, String.raw`\admin`],
    ['/admin#top', '/admin'],
    // Left as they are: an escaped slash is no separator, and an empty segment is one.
    ['/x%2f..%2fadmin', '/x%2f..%2fadmin'],
    ['//admin', '//admin'],
    ['/a//../b', '/a/b'],
    ['/a//.', '/a//'],
    ['/ADMIN', '/ADMIN'],
    ['/%252e', '/%252e'],
    ['/%zz', '/%zz'],
    ['/a%20b', '/a%20b'],
    ['/.../x', '/.../x'],
    ['/.well-known/x', '/.well-known/x'],
    ['*', '*'],
  ])('%s is %s', (path, normal) => {
    expect(normalizePath(path, 'BASE')).toBe(normal);
  });
});

describe('the other settings', () => {
  it.each([
    ['NONE', '/x/../admin', '/x/../admin'],
    ['MERGE_SLASHES', '//admin///x', '/admin/x'],
    ['MERGE_SLASHES', '/x/..//admin', '/admin'],
    ['MERGE_SLASHES', '/a%2f/b', '/a%2f/b'],
    ['DECODE_AND_MERGE_SLASHES', '/a%2f/b', '/a/b'],
    ['DECODE_AND_MERGE_SLASHES', '/x%2F..%2fadmin', '/admin'],
    ['DECODE_AND_MERGE_SLASHES', '/x%5c..%5Cadmin', '/admin'],
  ] as const)('%s: %s is %s', (how, path, normal) => {
    expect(normalizePath(path, how)).toBe(normal);
  });
});

describe('any path', () => {
  const path = fc.array(fc.constantFrom('/', '.', '..', 'a', '%2e', '%2E', '%2f', '%5c', '\\', '%41', '%', '#', 'B', '%25'), { maxLength: 12 }).map((parts) => `/${parts.join('')}`);

  it.each(['BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const)('has one normal form under %s, without dots to resolve', (how) => {
    fc.assert(fc.property(path, (text) => {
      const normal = normalizePath(text, how);
      expect(normalizePath(normal, how)).toBe(normal);
      expect(normal.startsWith('/')).toBe(true);
      expect(normal.split('/').some((segment) => segment === '.' || segment === '..')).toBe(false);
      if (how !== 'BASE') expect(normal).not.toContain('//');
    }));
  });
});

describe('templates', () => {
  it.each([
    ['/a/{*}/b', undefined],
    ['/{**}/b', undefined],
    ['/a', undefined],
    ['/a*', undefined],
    ['/{**}/{*}', '{**} must be the last operator'],
    ['/a/{x}', '"{x}" is neither text nor {*} nor {**}'],
    ['/a{*}', '"a{*}" is neither text nor {*} nor {**}'],
    ['/{*}/b*', '"b*" is neither text nor {*} nor {**}'],
  ])('%s', (pattern, fault) => {
    expect(templateFault(pattern)).toBe(fault);
  });

  it('take letters with a meaning of their own for themselves', () => {
    const test = templateTest('/a.b/{*}/c+(d)');
    expect([test('/a.b/x/c+(d)'), test('/aXb/x/c+(d)'), test('/a.b/x/ccd')]).toEqual([true, false, false]);
  });
});
