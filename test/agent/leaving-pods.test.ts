/** Pods that leave the mesh are served for as long as connections of theirs are open, and not longer. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LeavingPods } from '../../src/agent/leaving-pods.ts';
import type { Leaver, ServedPod } from '../../src/agent/leaving-pods.ts';
import { FakeClock } from '../../src/core/clock.ts';

class FakePod implements Leaver {
  readonly identity: string;
  openConnections = 0;
  /** In the order of the calls. */
  readonly calls: string[] = [];

  constructor(identity: string) {
    this.identity = identity;
  }

  leave(): void {
    this.calls.push('leave');
  }

  drain(idleMs: number): void {
    if (this.calls.at(-1) !== `drain ${idleMs}`) this.calls.push(`drain ${idleMs}`);
  }

  close(): void {
    this.calls.push('close');
  }
}

const LINGERS_MS = 6_000;
let clock: FakeClock;
let leaving: LeavingPods<FakePod>;

beforeEach(() => {
  clock = new FakeClock();
  leaving = new LeavingPods(clock);
});

function leave(identity: string, openConnections = 0): FakePod {
  const pod = new FakePod(identity);
  pod.openConnections = openConnections;
  const served: ServedPod<FakePod> = { pod, sockets: { close: () => pod.calls.push('sockets closed') } };
  leaving.add(served, () => pod.calls.push('left'));
  return pod;
}

describe('a pod that leaves', () => {
  it('accepts for a while, and is closed when nothing is open', () => {
    const pod = leave('a');
    clock.advance(4_000);
    expect(pod.calls).toEqual(['leave']);
    expect(leaving.pods).toEqual([pod]);
    clock.advance(LINGERS_MS);
    expect(pod.calls).toEqual(['leave', 'drain 10000', 'close', 'sockets closed', 'left']);
    expect(leaving.pods).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it('is served until its last connection ends, however long that takes', () => {
    const pod = leave('a', 1);
    clock.advance(3_600_000);
    expect(pod.calls).toEqual(['leave', 'drain 10000']);
    pod.openConnections = 0;
    clock.advance(LINGERS_MS);
    expect(pod.calls.slice(2)).toEqual(['close', 'sockets closed', 'left']);
  });

  it('may leave again after the others have gone', () => {
    leave('a');
    clock.advance(2 * LINGERS_MS);
    const pod = leave('b');
    clock.advance(2 * LINGERS_MS);
    expect(pod.calls).toContain('close');
  });
});

describe('the identity of a pod that leaves', () => {
  const forgotten: string[] = [];
  const forget = (identity: string): void => leaving.whenGone(identity, () => forgotten.push(identity));

  beforeEach(() => {
    forgotten.length = 0;
  });

  it('is kept until the last pod that has it is gone', () => {
    const first = leave('a', 1);
    const second = leave('a', 1);
    forget('a');
    forget('b');
    expect(forgotten).toEqual(['b']);
    first.openConnections = 0;
    clock.advance(LINGERS_MS);
    expect(forgotten).toEqual(['b']);
    second.openConnections = 0;
    clock.advance(LINGERS_MS);
    expect(forgotten).toEqual(['b', 'a']);
  });

  it('stays when another pod has come with it', () => {
    leave('a');
    forget('a');
    leaving.keep('a');
    clock.advance(LINGERS_MS);
    expect(forgotten).toEqual([]);
  });
});
