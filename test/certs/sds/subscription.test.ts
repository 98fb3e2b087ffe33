/** Whatever a client asks and whenever certificates change: it has what is its own, all of it, and nothing is sent twice. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { WorkloadCertificate } from '../../../src/certs/certificate.ts';
import { Incremental } from '../../../src/certs/sds/incremental.ts';
import type { Secret } from '../../../src/certs/sds/protocol.ts';
import { unpackSecret } from '../../../src/certs/sds/protocol.ts';
import { StateOfTheWorld } from '../../../src/certs/sds/state-of-the-world.ts';
import type { Caller } from '../../../src/certs/workload-api/caller.ts';
import { Notices } from '../../../src/certs/workload-api/notices.ts';
import { FakeClock } from '../../../src/core/clock.ts';
import { RotatingSource } from '../rotating-source.ts';
import { collectingLog, IDENTITY, NEIGHBOUR, TRUST_DOMAIN_ID } from '../workload-world.ts';

const CERTIFICATE_NAMES = ['default', IDENTITY];
const ROOTS_NAMES = ['ROOTCA', TRUST_DOMAIN_ID];
const FOREIGN_NAMES = [NEIGHBOUR, 'spiffe://elsewhere', '*', '__proto__'];
const NAMES = [...CERTIFICATE_NAMES, ...ROOTS_NAMES, ...FOREIGN_NAMES];

type Action =
  | { readonly do: 'ask'; readonly names: readonly string[]; readonly nack: boolean }
  | { readonly do: 'rotate' }
  | { readonly do: 'add root' };

const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('ask' as const), names: fc.subarray(NAMES), nack: fc.boolean() }),
    fc.record({ do: fc.constant('rotate' as const) }),
    fc.record({ do: fc.constant('add root' as const) }),
  ),
  { maxLength: 20 },
);

function callerOf(): Caller {
  const clock = new FakeClock();
  return { podId: 'shop/cart-1', identity: IDENTITY, trustDomainId: TRUST_DOMAIN_ID, source: new RotatingSource(), clock, log: collectingLog([]), notices: new Notices(clock), open: new Set() };
}

/** A certificate by its number and that of its roots: what is in it makes no difference here. */
function certificateOf(leaf: number, roots: number): WorkloadCertificate {
  return { identity: IDENTITY, chain: `chain ${leaf}`, key: `key ${leaf}`, roots: `roots ${roots}`, serial: '', notBeforeMs: 0, notAfterMs: Infinity };
}

function contentOf({ tlsCertificate, validationContext }: Secret): string {
  const sources = [tlsCertificate?.certificateChain, tlsCertificate?.privateKey, validationContext?.trustedCa];
  return sources.map((source) => (source === undefined ? '' : Buffer.from(source.inlineBytes).toString())).join('|');
}

/** What a client with these names should have. */
function truth(names: Iterable<string>, { chain, key, roots }: WorkloadCertificate): Record<string, string> {
  return Object.fromEntries([...names].flatMap((name) => {
    if (CERTIFICATE_NAMES.includes(name)) return [[name, `${chain}|${key}|`]];
    return ROOTS_NAMES.includes(name) ? [[name, `||${roots}`]] : [];
  }));
}

test('StreamSecrets', () => {
  fc.assert(fc.property(actions, (steps) => {
    const subscription = new StateOfTheWorld(callerOf());
    let [leaf, roots, nonce, versionInfo] = [1, 1, '', ''];
    let names: readonly string[] = [];
    let has: Record<string, string> = {};
    for (const step of steps) {
      if (step.do === 'rotate') leaf += 1;
      if (step.do === 'add root') roots += 1;
      if (step.do === 'ask') {
        ({ names } = step);
        expect(subscription.take({ versionInfo, resourceNames: names, typeUrl: '', responseNonce: nonce, errorDetail: step.nack ? { code: 13, message: 'no' } : null })).toBeUndefined();
      }
      const certificate = certificateOf(leaf, roots);
      const response = subscription.next(certificate);
      const wanted = truth(names, certificate);
      if (response !== undefined) {
        expect(response.nonce).not.toBe(nonce);
        ({ nonce, versionInfo } = response);
        const received = Object.fromEntries(response.resources.map(unpackSecret).map((secret) => [secret.name, contentOf(secret)]));
        expect(received).not.toEqual({});
        has = { ...has, ...received };
      }
      has = Object.fromEntries(Object.entries(has).filter(([name]) => names.includes(name)));
      expect(has).toEqual(wanted);
      expect(subscription.next(certificate)).toBeUndefined();
    }
  }));
});

test('DeltaSecrets', () => {
  fc.assert(fc.property(actions, (steps) => {
    const subscription = new Incremental(callerOf());
    let [leaf, roots, nonce] = [1, 1, ''];
    const names = new Set<string>();
    let has: Record<string, string> = {};
    for (const step of steps) {
      if (step.do === 'rotate') leaf += 1;
      if (step.do === 'add root') roots += 1;
      const [subscribe, unsubscribe]: [string[], string[]] = [[], []];
      if (step.do === 'ask') {
        for (const name of step.names) (names.has(name) ? unsubscribe : subscribe).push(name);
        for (const name of subscribe) names.add(name);
        for (const name of unsubscribe) names.delete(name);
        const request = { typeUrl: '', resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe, initialResourceVersions: {}, responseNonce: nonce };
        expect(subscription.take({ ...request, errorDetail: step.nack ? { code: 13, message: 'no' } : null })).toBeUndefined();
      }
      const certificate = certificateOf(leaf, roots);
      const response = subscription.next(certificate);
      for (const { name, resource } of response?.resources ?? []) {
        const content = contentOf(unpackSecret(resource));
        // What has not changed is sent to whoever subscribes to it only.
        if (!subscribe.includes(name)) expect(has[name]).not.toBe(content);
        has[name] = content;
      }
      expect(new Set(response?.removedResources)).toEqual(new Set(subscribe.filter((name) => FOREIGN_NAMES.includes(name))));
      nonce = response?.nonce ?? nonce;
      has = Object.fromEntries(Object.entries(has).filter(([name]) => names.has(name)));
      expect(has).toEqual(truth(names, certificate));
      expect(subscription.next(certificate)).toBeUndefined();
    }
  }));
});
