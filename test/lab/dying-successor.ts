/**
 * An agent that begins to take over and dies of it: takes the sockets of the one that serves, with `serving` also its place, and is gone
 * as by SIGKILL. In a node's network namespace: node test/lab/dying-successor.ts HAND_OVER_SOCKET [serving]
 */
import { Predecessor } from '../../src/agent/hand-over/predecessor.ts';
import { createLogger } from '../../src/core/log.ts';

const [path = '', stage] = process.argv.slice(2);
const predecessor = await Predecessor.find({ path, instance: 'dies', log: createLogger('test', 'silent') });
if (predecessor === undefined) throw new Error(`nobody serves at ${path}`);
const inheritance = await predecessor.take();
if (stage === 'serving') await predecessor.taken();
process.stdout.write(`${inheritance.size}\n`, () => process.kill(process.pid, 'SIGKILL'));
