/** The agent's own log (not the access log): one JSON object a line, by pino, in the field's usual names. */
import { pino } from 'pino';
import type { LogLevel } from './log-level.ts';

type Write = (fieldsOrMessage: object | string, message?: string) => void;

/** What is asked of a logger; pino is one, and so is what a worker thread forwards its lines with. */
export interface Logger {
  level: string;
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
}

/** A logger writing to standard error; `scope` names the part of the agent (agent, worker-1, …). */
export function createLogger(scope: string, level: LogLevel = 'info'): Logger {
  return pino({ level, base: { scope }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true })) as Logger;
}
