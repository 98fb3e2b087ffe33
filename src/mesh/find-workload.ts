import type { Snapshot, Workload } from './snapshot.ts';

/** The pod called `ns/name`, or `name` when one namespace has it; else a sentence that says what there is. */
export function findWorkload({ workloads }: Snapshot, name: string): Workload | string {
  const exact = workloads.find(({ id }) => id === name);
  if (exact !== undefined) return exact;
  const [found, other] = workloads.filter((one) => one.name === name);
  if (found !== undefined && other === undefined) return found;
  if (other !== undefined) return `several pods are called ${name}; name its namespace: ${other.id}`;
  const ids = workloads.filter(({ enrolled }) => enrolled).map(({ id }) => id);
  return `there is no pod "${name}"; enrolled ${ids.length === 1 ? 'is' : 'are'} ${ids.slice(0, 20).join(', ') || 'none'}${ids.length > 20 ? ', …' : ''}`;
}
