/** A table for people and for JSON: maps become objects, sets lists, and what is a function says so. */
import type { Table } from './table.ts';

/** Plain data that can be printed and cloned. */
export function describeTable(table: Table): unknown {
  return JSON.parse(JSON.stringify(table, plain)) as unknown;
}

function plain(key: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (typeof value === 'function') return key === 'podAt' ? 'by address' : value.name === 'matchAll' ? 'every request' : 'compiled condition';
  return value === Infinity ? 'unlimited' : value;
}
