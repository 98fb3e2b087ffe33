/**
 * A turn is everything that one event causes: the bytes of one read, one timer, one close. What is written during a turn is
 * gathered and leaves at its end, in one write for each connection.
 */

/** Something with gathered output. */
export interface Flushable {
  flush(): void;
}

const waiting: Flushable[] = [];
const round: Flushable[] = [];
let depth = 0;
let scheduled = false;

/** Flush `what` at the end of the present turn, after those that were there before it. Once for each time it is put here. */
export function flushLater(what: Flushable): void {
  waiting.push(what);
  if (depth > 0 || scheduled) return;
  scheduled = true;
  process.nextTick(flushWaiting);
}

/**
 * Flush `what` when all that arrived in this round of the event loop has been dealt with. For connections that many share: what
 * a round brings for it leaves in one write, and in one TLS record.
 */
export function flushAfterRound(what: Flushable): void {
  round.push(what);
  if (round.length === 1) setImmediate(flushRound);
}

export function beginTurn(): void {
  depth += 1;
}

/** Every {@link beginTurn} needs one, also when the step between them throws. */
export function endTurn(): void {
  depth -= 1;
  if (depth === 0 && waiting.length > 0) flushWaiting();
}

/** Run a step of whoever owns a connection, then flush what it wrote. */
export function inTurn(step: () => void): void {
  beginTurn();
  try {
    step();
  } finally {
    endTurn();
  }
}

function flushWaiting(): void {
  scheduled = false;
  // A stream of a tunnel hands its bytes to the tunnel's connection, which then joins the end of the list.
  for (let i = 0; i < waiting.length; i += 1) (waiting[i] as Flushable).flush();
  waiting.length = 0;
}

function flushRound(): void {
  const due = round.splice(0);
  for (const what of due) what.flush();
}
