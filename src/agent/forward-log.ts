/**
 * A worker's log, written by the main thread: pino would cost each thread about 8 MiB, and lines of several threads would meet
 * on one descriptor.
 */
import { LOG_LEVELS } from '../core/log-level.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { Logger } from '../core/log.ts';

/** One line on its way. */
export interface ForwardedLine {
  readonly level: Exclude<LogLevel, 'silent'>;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** A logger that hands each line of `level` and above to `forward`, as plain data. */
export function forwardingLogger(level: LogLevel, forward: (line: ForwardedLine) => void): Logger {
  const write = (own: ForwardedLine['level']) => (fieldsOrMessage: object | string, message = '') => {
    if (LOG_LEVELS.indexOf(own) < LOG_LEVELS.indexOf(logger.level as LogLevel)) return;
    if (typeof fieldsOrMessage === 'string') forward({ level: own, fields: {}, message: fieldsOrMessage });
    else forward({ level: own, fields: plain(fieldsOrMessage), message });
  };
  const logger: Logger = { level, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  return logger;
}

/** Errors as pino prints them; what cannot be cloned as text. */
function plain(fields: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, value instanceof Error ? { type: value.name, message: value.message, stack: value.stack } : typeof value === 'function' ? String(value) : value]));
}
