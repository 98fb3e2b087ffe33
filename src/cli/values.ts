/** Values of options, read and refused with what was expected. */
import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../mesh/duration.ts';

export function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new InvalidArgumentError('a port from 1 to 65535.');
  return value;
}

/** Milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < 1000) throw new InvalidArgumentError('a duration of 1s or more, like 24h.');
  return ms;
}
