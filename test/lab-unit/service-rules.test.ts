import { describe, expect, it } from 'vitest';
import { renderServiceRules } from '../../src/lab/service-rules.ts';
import { readyBut, WEB, worldOf } from './world.ts';

describe('rules for Services', () => {
  it('spread new connections evenly over ready endpoints, on their target port, in both families', () => {
    const world = worldOf(WEB);
    const rules = renderServiceRules(world, readyBut(world));
    expect(rules).toContain('ip daddr 10.7.254.1 tcp dport 80 dnat ip addr . port to numgen random mod 2 map { 0 : 10.7.1.2 . 8080, 1 : 10.7.2.2 . 8080 } comment "shop/web"');
    expect(rules).toContain('ip6 daddr fd00:7:fe::1 tcp dport 80 dnat ip6 addr . port to numgen random mod 2 map { 0 : fd00:7:1::2 . 8080, 1 : fd00:7:2::2 . 8080 }');
    expect(rules).not.toContain('reject');
  });

  it('leave out pods that are not ready', () => {
    const world = worldOf(WEB);
    expect(renderServiceRules(world, readyBut(world, world.pods[0]?.name ?? ''))).toContain('mod 1 map { 0 : 10.7.2.2 . 8080 }');
  });

  it('refuse connections to a Service without ready endpoints, rather than let them hang', () => {
    const rules = renderServiceRules(worldOf(WEB), new Set());
    expect(rules).toContain('ip daddr 10.7.254.1 tcp dport 80 reject with tcp reset');
    expect(rules).not.toContain('dnat');
  });

  it('masquerade what comes back to its own pod, and replace the table in one transaction', () => {
    const world = worldOf(WEB);
    const rules = renderServiceRules(world, readyBut(world));
    expect(rules).toContain('elements = { 10.7.1.2 . 10.7.1.2, 10.7.2.2 . 10.7.2.2 }');
    expect(rules).toMatch(/^table inet orlop-lab\ndelete table inet orlop-lab\ntable inet orlop-lab \{/);
  });
});
