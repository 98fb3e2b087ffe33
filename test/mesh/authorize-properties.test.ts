/** What holds for any set of policies and any request. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authorize } from '../../src/mesh/authorize.ts';
import type { Verdict } from '../../src/mesh/authorize.ts';
import type { AuthorizationPolicies, AuthorizationPolicy, AuthorizationRequest } from '../../src/mesh/security.ts';
import { connection, http, policiesOf, policy } from './security-world.ts';

const values: Readonly<Record<string, readonly string[]>> = {
  principals: ['cluster.local/ns/shop/sa/web', 'cluster.local/ns/ops/sa/*', '*'],
  namespaces: ['shop', 'o*'],
  ipBlocks: ['10.244.0.0/16', '192.0.2.7'],
  methods: ['GET', 'POST'],
  paths: ['/items', '/admin*', '/{*}/x'],
  ports: ['9080', '1'],
};

const fields = (names: readonly string[]): fc.Arbitrary<Record<string, string[]>> =>
  fc.tuple(fc.subarray([...names], { minLength: 1, maxLength: 2 }), fc.boolean()).chain(([chosen, negative]) =>
    fc.record(Object.fromEntries(chosen.map((name) => [negative ? `not${name.slice(0, 1).toUpperCase()}${name.slice(1)}` : name, fc.subarray([...(values[name] ?? [])], { minLength: 1 })]))));

const rule = fc.record({
  from: fc.array(fc.record({ source: fields(['principals', 'namespaces', 'ipBlocks']) }), { minLength: 1, maxLength: 2 }),
  to: fc.array(fc.record({ operation: fields(['methods', 'paths', 'ports']) }), { minLength: 1, maxLength: 2 }),
}, { requiredKeys: [] });

const rules = fc.array(rule, { minLength: 1, maxLength: 2 });
const written = fc.record({ action: fc.constantFrom('ALLOW', 'DENY'), rules });

const request: fc.Arbitrary<AuthorizationRequest> = fc.record({
  isHttp: fc.boolean(),
  identity: fc.constantFrom('', 'spiffe://cluster.local/ns/shop/sa/web', 'spiffe://cluster.local/ns/ops/sa/admin'),
  sourceAddress: fc.constantFrom('10.244.4.9', '192.0.2.7'),
  destinationPort: fc.constantFrom(9080, 1),
  method: fc.constantFrom('GET', 'POST'),
  path: fc.constantFrom('/items', '/admin/x', '/a/x'),
}).map(({ isHttp, method, path, ...rest }) => (isHttp ? http({ ...rest, method, path }) : connection(rest)));

function compiled(all: readonly { readonly action: string; readonly rules: readonly unknown[] }[]): AuthorizationPolicies {
  return policiesOf(...all.map(({ action, rules: some }, i) => policy(action, JSON.stringify(some), { name: `p${i}` })));
}

function reversed(policies: AuthorizationPolicies): AuthorizationPolicies {
  const turn = (list: readonly AuthorizationPolicy[]): AuthorizationPolicy[] => list.map((one) => ({ ...one, rules: [...one.rules].reverse() })).reverse();
  return { ...policies, allow: turn(policies.allow), deny: turn(policies.deny) };
}

const CASES = fc.tuple(fc.array(written, { maxLength: 4 }), fc.array(request, { minLength: 1, maxLength: 8 }));

function everywhere(check: (policies: AuthorizationPolicies, asked: AuthorizationRequest, verdict: Verdict) => void): void {
  fc.assert(fc.property(CASES, ([all, requests]) => {
    const policies = compiled(all);
    for (const asked of requests) check(policies, asked, authorize(policies, asked));
  }), { numRuns: 150 });
}

describe('for any policies and any request', () => {
  it('the order of policies of one action, and of their rules, does not matter', { timeout: 60_000 }, () => {
    everywhere((policies, asked, { allowed }) => {
      expect(authorize(reversed(policies), asked).allowed).toBe(allowed);
    });
  });

  it('DENY beats ALLOW', { timeout: 60_000 }, () => {
    everywhere((policies, asked, { allowed }) => {
      if (!authorize({ ...policies, allow: [] }, asked).allowed) expect(allowed).toBe(false);
    });
  });

  it('one more DENY never lets more through', { timeout: 60_000 }, () => {
    fc.assert(fc.property(CASES, rules, ([all, requests], more) => {
      const before = compiled(all);
      const after = compiled([...all, { action: 'DENY', rules: more }]);
      for (const asked of requests) if (authorize(after, asked).allowed) expect(authorize(before, asked).allowed).toBe(true);
    }), { numRuns: 150 });
  });

  it('one more rule of an ALLOW policy never lets less through', { timeout: 60_000 }, () => {
    fc.assert(fc.property(fc.array(rules, { minLength: 1, maxLength: 3 }), rule, fc.array(request, { minLength: 1, maxLength: 8 }), (all, more, requests) => {
      const allow = all.map((some) => ({ action: 'ALLOW', rules: some }));
      const before = compiled(allow);
      const after = compiled(allow.map((one, i) => (i === 0 ? { ...one, rules: [...one.rules, more] } : one)));
      for (const asked of requests) if (authorize(before, asked).allowed) expect(authorize(after, asked).allowed).toBe(true);
    }), { numRuns: 150 });
  });

  it('a refusal names a DENY policy or none, a permission an ALLOW policy or none', { timeout: 60_000 }, () => {
    everywhere((policies, _asked, { allowed, reason, policy: origin, rule: index }) => {
      const list = reason === 'denied' ? policies.deny : reason === 'allowed' ? policies.allow : [];
      if (list.length === 0) expect([origin, index]).toEqual(['', -1]);
      else expect(list.find((one) => one.origin === origin)?.rules[index]).toBeDefined();
      expect(allowed).toBe(reason === 'allowed' || reason === 'open');
    });
  });
});
