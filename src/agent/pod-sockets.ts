/** Sockets born in a pod's network namespace, made a few at a time because entering it costs more than a socket does. */
import { openBorrowedSocket } from '../redirect/source-address.ts';
import type { SocketFactory } from '../proxy/workload.ts';
import { MARK_OUTBOUND } from '../sys/layout.ts';
import { Netns } from '../sys/netns.ts';
import { closeFd, connectSockets } from '../sys/socket.ts';

/** Sockets made beyond the one asked for. They cost the pod nothing until they are connected. */
const SPARE_MAX = 7;

export class PodSockets implements SocketFactory {
  readonly #netns: Netns;
  readonly #spare: Record<4 | 6, number[]> = { 4: [], 6: [] };
  /** Doubles while sockets are used up, so that a quiet pod holds one spare and a busy one saves most of its brackets. */
  readonly #batch: Record<4 | 6, number> = { 4: 1, 6: 1 };

  constructor(netnsPath: string) {
    this.#netns = Netns.open(netnsPath);
  }

  outbound(family: 4 | 6): number {
    const ready = this.#spare[family].pop();
    if (ready !== undefined) return ready;
    const batch = this.#batch[family];
    this.#batch[family] = Math.min(batch * 2, 1 + SPARE_MAX);
    const [first, ...others] = this.#netns.run(() => connectSockets(batch, { family, mark: MARK_OUTBOUND }));
    this.#spare[family] = others;
    return first as number;
  }

  inbound(family: 4 | 6, clientAddress: string): number {
    return this.#netns.run(() => openBorrowedSocket(family, clientAddress));
  }

  close(): void {
    for (const fd of [...this.#spare[4].splice(0), ...this.#spare[6].splice(0)]) closeFd(fd);
    this.#netns.close();
  }
}
