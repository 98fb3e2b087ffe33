/** Names of clusters that are discovered by DNS, resolved as the node resolves them. */
import { lookup } from 'node:dns/promises';

/** Every address of `name`, IPv4 first. Rejects with the resolver's reason. */
export async function resolveName(name: string): Promise<readonly string[]> {
  const found = await lookup(name, { all: true, order: 'ipv4first' });
  return found.map(({ address }) => address);
}
