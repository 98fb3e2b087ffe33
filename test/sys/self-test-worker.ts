/** Run as a worker thread: ends with an error when the thread lacks what the main thread has. */
import { selfTest } from '../../src/sys/self-test.ts';

selfTest();
