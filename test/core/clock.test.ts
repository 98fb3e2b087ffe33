import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { COARSE_TICK_MS, FakeClock, systemClock } from '../../src/core/clock.ts';

describe('the fake clock', () => {
  it('runs what falls due in order of time, also what is armed on the way', () => {
    const clock = new FakeClock();
    const log: string[] = [];
    clock.after(30, () => log.push('c'));
    clock.after(10, () => {
      log.push('a');
      clock.after(10, () => log.push('b'));
    });
    clock.after(20, () => log.push('never')).cancel();
    clock.advance(30);
    expect(log).toEqual(['a', 'b', 'c']);
    expect(clock.pending()).toBe(0);
  });
});

describe('coarse waits of the system clock', () => {
  it('come once, not early, and not when they were cancelled', async () => {
    const log: string[] = [];
    const startedMs = systemClock.nowMs();
    const done = new Promise<number>((resolve) => {
      systemClock.coarse(150, () => {
        log.push('150');
        resolve(systemClock.nowMs() - startedMs);
      });
    });
    systemClock.coarse(120, () => log.push('cancelled')).cancel();
    systemClock.coarse(50, () => log.push('50'));
    expect(await done).toBeGreaterThanOrEqual(150);
    await sleep(3 * COARSE_TICK_MS);
    // Waits of different lengths may come in one tick when the process was busy; which of them first is not promised.
    expect(log.toSorted()).toEqual(['150', '50']);
  });
});
