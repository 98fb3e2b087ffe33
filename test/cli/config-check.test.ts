/** `orlop config check` as it is used: in a terminal, and in a pipeline that goes by the exit code. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { application } from '../mesh/world.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-config-check-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

function write(name: string, text: string): void {
  mkdirSync(dirname(join(directory, name)), { recursive: true });
  writeFileSync(join(directory, name), text);
}

function check(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'config', 'check', ...args], { encoding: 'utf8', env: { ...process.env, FORCE_COLOR: undefined } });
  return { code: status, out: stdout, err: stderr };
}

const RULE = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - timeout: 1s
    route: [{destination: {host: cart}}]
`;

describe('orlop config check', () => {
  it('says what it found, and ends well, when nothing is wrong', () => {
    write('app.yaml', application('shop', ['cart']));
    write('rules/cart.yml', RULE);
    expect(check(directory)).toEqual({ code: 0, out: '3 objects, 1 route, 0 errors, 0 warnings\n', err: '' });
  });

  it('tells each problem with place and remedy, in order, and ends with 1', () => {
    write('b.yaml', application('shop', ['cart']));
    write('c.yaml', RULE.replace('timeout: 1s', 'timeout: 1s\n    retry: {}'));
    write('a.yaml', 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {selector: {matchLabels: {app: nobody}}, mtls: {mode: STRICT}}\n---\nkind: Nonsense\nmetadata: {name: x}\n');
    const { code, out } = check(directory);
    expect(code).toBe(1);
    expect(out.split('\n')).toEqual([
      expect.stringMatching(/^a\.yaml:4: warning \[IST0127\] PeerAuthentication default\/default spec\.selector: /),
      expect.stringMatching(/^a\.yaml:6: error \[ORLOP003\] Nonsense default\/x kind: unknown kind "Nonsense" → /),
      'c.yaml:8: error [IST0106] VirtualService shop/cart spec.http[0].retry: unknown field "retry" → did you mean "retries"?',
      '3 objects, 0 routes, 2 errors, 1 warning',
      '',
    ]);
  });

  it('writes JSON when asked', () => {
    write('a.yaml', 'kind: Nonsense\nmetadata: {name: x}\n');
    const { code, out } = check(directory, '-o', 'json');
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ objects: 0, routes: 0, errors: 1, warnings: 0, problems: [{ file: 'a.yaml', line: 1, severity: 'error', code: 'ORLOP003', field: 'kind' }] });
  });

  it('reads JSON too, and passes over what is no configuration', () => {
    write('a.json', JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }));
    for (const name of ['README.md', '.hidden.yaml', '..data/a.yaml', 'one/two/deep.yaml', 'x.yaml.swp']) write(name, '{ no yaml');
    expect(check(directory).out).toBe('1 object, 0 routes, 0 errors, 0 warnings\n');
  });

  it('an empty directory is no mistake', () => {
    expect(check(directory)).toEqual({ code: 0, out: '0 objects, 0 routes, 0 errors, 0 warnings\n', err: '' });
  });

  it('a wrong command line is one line, and ends with 64', () => {
    expect(check(join(directory, 'nowhere'))).toEqual({ code: 64, out: '', err: `orlop config check: ${join(directory, 'nowhere')} is not a directory; give one with Kubernetes and Istio YAML files\n` });
    expect(check().code).toBe(64);
    expect(check(directory, '-o', 'xml').code).toBe(64);
  });
});
