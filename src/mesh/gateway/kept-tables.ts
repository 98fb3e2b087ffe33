/**
 * Tables of gateways for who needs their ports and certificates alone: they are compiled anew when a rule has changed, not with every pod that comes or goes, as
 * most snapshots of a large cluster differ in nothing else. Their endpoints may be out of date.
 */
import type { Snapshot } from '../snapshot.ts';
import { compileGateway } from './compile.ts';
import { serversOf } from './istio-servers.ts';
import type { GatewayId, GatewayTable } from './table.ts';

export class KeptTables {
  #rules: readonly unknown[] = [];
  readonly #tables = new Map<string, GatewayTable | undefined>();

  /** Throws when the snapshot does not compile. */
  of(snapshot: Snapshot, id: GatewayId): GatewayTable | undefined {
    const rules = rulesOf(snapshot);
    if (!isSame(rules, this.#rules)) this.#tables.clear();
    this.#rules = rules;
    const key = `${id.kind} ${id.namespace}/${id.name}`;
    if (!this.#tables.has(key)) this.#tables.set(key, compileGateway(snapshot, id));
    return this.#tables.get(key);
  }
}

/** What ports and certificates follow from. An object that is as it was is the same one in the next snapshot. */
function rulesOf(snapshot: Snapshot): readonly unknown[] {
  const { mesh, gatewayApi, virtualServices, destinationRules, serviceEntries, services, namespaceLabels } = snapshot;
  const lists = [...Object.values(gatewayApi) as (readonly unknown[])[], virtualServices, destinationRules, serviceEntries, services.map(({ origin }) => origin)];
  // Pods decide which of Istio's Gateways are served.
  const served = [...serversOf(snapshot).ports.values()].flat().map(({ gateway }) => gateway);
  return [JSON.stringify([mesh, namespaceLabels]), ...[...lists, served].flatMap((list) => [list.length, ...list])];
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((member, i) => member === b[i]);
}
