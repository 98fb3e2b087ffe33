/** Decisions that a table does not take alone. */
import { describe, expect, it } from 'vitest';
import { redirectLocation } from '../../src/mesh/route.ts';
import type { RedirectAction } from '../../src/mesh/table.ts';
import { request } from './world.ts';

describe('Location of a redirect', () => {
  it('keeps the brackets of an IPv6 host', () => {
    const action: RedirectAction = { kind: 'redirect', status: 301, scheme: undefined, authority: undefined, port: 'default', path: { kind: 'full', value: '/new', matchedPrefix: '' } };
    expect(redirectLocation(action, request('[2001:db8::1]:8080', '/old'), 8080)).toBe('http://[2001:db8::1]:8080/new');
    expect(redirectLocation(action, request('[2001:db8::1]', '/old'), 80)).toBe('http://[2001:db8::1]/new');
  });
});
