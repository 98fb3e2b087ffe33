/** Servers of a port by the name in a ClientHello. */
import type { ServerNameTable, TlsServer } from './table.ts';

/** `*` takes every name, and connections without one. The first that has a name keeps it. */
export function serverNameTable(servers: readonly (readonly [string, TlsServer])[]): ServerNameTable {
  const exact = new Map<string, TlsServer>();
  const wildcards = new Map<string, TlsServer>();
  for (const [name, server] of servers) {
    const [table, key] = name.startsWith('*') ? [wildcards, name.slice(1)] : [exact, name];
    if (!table.has(key)) table.set(key, server);
  }
  return { exact, wildcards: [...wildcards].map(([suffix, server]) => ({ suffix, server })).sort((a, b) => b.suffix.length - a.suffix.length) };
}
