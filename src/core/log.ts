/** The agent's own log (not the access log): one JSON object a line, by pino, in the field's usual names. */
import { pino } from 'pino';
import type { Logger } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** A logger writing to standard error; `scope` names the part of the agent (main, worker-1, …). */
export function createLogger(scope: string, level: LogLevel = 'info'): Logger {
  return pino({ level, base: { scope }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
}
