/**
 * Opens connections, makes one request on each, then holds them idle until it is ended. Prints `holding` once all are open;
 * ends with an error when one is closed from the other side.
 *
 *     idle.ts HOST PORT CONNECTIONS
 */
import { Connection } from './connection.ts';

/** Opened side by side: few enough that no proxy's upstream limits are met on the way. */
const OPENING_MAX = 32;

const [host, port, count] = process.argv.slice(2) as [string, string, string];
const total = Number(count);
let opened = 0;
let answered = 0;

for (let side = 0; side < OPENING_MAX; side++) openNext();

function openNext(): void {
  if (opened === total) return;
  opened += 1;
  new Connection(host, Number(port), onAnswer, onFailure).send();
}

function onAnswer(): void {
  answered += 1;
  if (answered === total) process.stdout.write('holding\n');
  openNext();
}

function onFailure(reason: string): void {
  process.stderr.write(`idle connection ${String(answered)} of ${String(total)}: ${reason}\n`);
  process.exit(1);
}
