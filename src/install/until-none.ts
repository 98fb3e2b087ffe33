/** Waiting until what is to go has gone. */
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 500;

/** How many are left at the end. `tell` hears of each new number. */
export async function untilNone(count: () => Promise<number>, timeoutMs: number, tell: (count: number) => void = () => undefined): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  let told = 0;
  for (;;) {
    const left = await count();
    if (left === 0 || performance.now() > deadline) return left;
    if (left !== told) tell(left);
    told = left;
    await sleep(POLL_MS);
  }
}
