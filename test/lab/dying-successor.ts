/**
 * An agent that begins to take over and dies of it: takes the sockets of the one that serves, with `serving` also its place, and is gone
 * as by SIGKILL. What it has taken, its keeper has too. In a node's network namespace:
 *   node test/lab/dying-successor.ts HAND_OVER_SOCKET KEEPER_SOCKET [serving]
 */
import { readdirSync } from 'node:fs';
import { Predecessor } from '../../src/agent/hand-over/predecessor.ts';
import { KeeperConnection } from '../../src/agent/keeper/connection.ts';
import { createLogger } from '../../src/core/log.ts';
import { isListening } from '../../src/sys/socket.ts';

const [path = '', keeperPath = '', stage] = process.argv.slice(2);
const predecessor = await Predecessor.find({ path, instance: 'dies', log: createLogger('test', 'silent') });
if (predecessor === undefined) throw new Error(`nobody serves at ${path}`);
const inheritance = await predecessor.take();
KeeperConnection.open(keeperPath).keep('all', readdirSync('/proc/self/fd').map(Number).filter(listens));
if (stage === 'serving') await predecessor.taken();
process.stdout.write(`${inheritance.size}\n`, () => process.kill(process.pid, 'SIGKILL'));

function listens(fd: number): boolean {
  try {
    return isListening(fd);
  } catch {
    return false;
  }
}
