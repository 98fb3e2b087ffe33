/**
 * What comes into a pod without the proof of identity that its PeerAuthentication demands, because the pod's annotations keep it out of capture:
 * STRICT cannot be enforced on traffic that the agent does not see.
 */
import { mtlsOf, peerAuthenticationsOf } from '../mesh/compile/peer-authentication.ts';
import type { Mtls } from '../mesh/security.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';
import type { Exclusions } from '../redirect/exclusions.ts';
import { rangesInclude } from '../redirect/ranges.ts';
import type { Range } from '../redirect/ranges.ts';

/** In words, each a part of traffic: `inbound ports 9090, 9100-9110`. Empty: nothing does, or nothing is STRICT. */
export function strictBypasses({ peerAuthentications, mesh: { rootNamespace } }: Snapshot, workload: Workload, exclusions: Exclusions): string[] {
  const { excludeInboundPorts, includeInboundPorts, excludeInboundCidrs, excludeInterfaces } = exclusions;
  if (excludeInboundPorts.length + excludeInboundCidrs.length + excludeInterfaces.length === 0 && includeInboundPorts === undefined) return [];
  const mtls = mtlsOf(peerAuthenticationsOf(peerAuthentications, rootNamespace, workload));
  const strictPorts = [...mtls.ports].filter(([, mode]) => mode === 'STRICT').map(([port]) => port);
  if (mtls.default !== 'STRICT' && strictPorts.length === 0) return [];
  const ports = excludeInboundPorts.filter((range) => isStrictIn(mtls, range));
  const included = includeInboundPorts ?? [{ from: 1, to: 65_535 }];
  const leavesOut = mtls.default === 'STRICT' ? includeInboundPorts !== undefined : strictPorts.some((port) => !rangesInclude(included, port));
  return [
    ...(ports.length === 0 ? [] : [`inbound ports ${textOf(ports)}`]),
    ...(leavesOut ? [included.length === 0 ? 'all inbound ports' : `inbound ports other than ${textOf(included)}`] : []),
    ...(excludeInboundCidrs.length === 0 ? [] : [`connections from ${excludeInboundCidrs.join(', ')}`]),
    ...(excludeInterfaces.length === 0 ? [] : [`interfaces ${excludeInterfaces.join(', ')}`]),
  ];
}

/** Is any port of the range STRICT? */
function isStrictIn(mtls: Mtls, { from, to }: Range): boolean {
  const set = [...mtls.ports].filter(([port]) => port >= from && port <= to);
  if (set.some(([, mode]) => mode === 'STRICT')) return true;
  return mtls.default === 'STRICT' && set.length < to - from + 1;
}

function textOf(ranges: readonly Range[]): string {
  return ranges.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
}
