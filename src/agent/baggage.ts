/** What servers of tunnels learn of a client besides its identity, as W3C baggage. */
import type { Workload } from '../mesh/snapshot.ts';

/** The keys are ztunnel's. */
export function baggageOf({ namespace, workloadName, name, canonicalName, canonicalRevision }: Workload): string {
  const entries = [
    ['k8s.namespace.name', namespace],
    [workloadName === name ? 'k8s.pod.name' : 'k8s.deployment.name', workloadName],
    ['service.name', canonicalName],
    ['service.version', canonicalRevision],
  ];
  return entries.map(([key, value = '']) => `${key}=${encodeURIComponent(value)}`).join(',');
}
