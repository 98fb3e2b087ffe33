/** deploy/Dockerfile, for users with a registry, starts the program as the image does that is built without one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { imageConfig } from '../../deploy/image/build.ts';

it('starts as the image that build.ts makes', () => {
  const [, final = ''] = readFileSync(join(import.meta.dirname, '../../deploy/Dockerfile'), 'utf8').split('FROM scratch\n');
  const values = (instruction: string): string[] => [...final.matchAll(new RegExp(`^${instruction} (.+)$`, 'gm'))].map(([, value = '']) => value);
  const { env, user, entrypoint } = imageConfig('dev');
  expect(Object.fromEntries(values('ENV').map((value) => [value.slice(0, value.indexOf('=')), value.slice(value.indexOf('=') + 1).replaceAll('"', '')]))).toEqual(env);
  expect(values('USER')).toEqual([user]);
  expect(values('ENTRYPOINT').map((value): unknown => JSON.parse(value))).toEqual([entrypoint]);
});
