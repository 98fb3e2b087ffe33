/** A request, or an opaque connection, as policies are asked about it. */
import type { Decision, Verdict } from '../mesh/authorize.ts';
import type { AuthorizationRequest } from '../mesh/security.ts';
import type { Connection } from './connection.ts';
import type { RequestHead } from './head.ts';
import type { Exchange } from './record.ts';

export function judgedRequest({ connection, authentication }: Exchange, head: RequestHead): AuthorizationRequest {
  return { ...judgedEnds(connection, forwardedFor(head, connection)), http: head, authentication };
}

export function judgedConnection(connection: Connection): AuthorizationRequest {
  return { ...judgedEnds(connection, connection.remoteAddress), http: undefined, authentication: undefined };
}

function judgedEnds({ peer, remoteAddress: sourceAddress, destinationAddress, destinationPort, serverName: sni }: Connection, remoteAddress: string): Omit<AuthorizationRequest, 'http' | 'authentication'> {
  return { identity: peer.identity, sourceAddress, remoteAddress, destinationAddress, destinationPort, sni };
}

/**
 * The client as the outermost of `trustedProxies` saw it: so many addresses from the right of X-Forwarded-For (Envoy's
 * xff_num_trusted_hops). What stands further left the client may have written itself; with too few there was no such proxy.
 */
function forwardedFor(head: RequestHead, { remoteAddress, workload }: Connection): string {
  const { trustedProxies } = workload.table.security;
  if (trustedProxies === 0) return remoteAddress;
  return head.header('x-forwarded-for')?.split(',').at(-trustedProxies)?.trim() ?? remoteAddress;
}

/** Of a refusal, in Envoy's words: `rbac_access_denied_matched_policy[ns[shop]-policy[no-writers]-rule[0]]`. */
export function denialDetails({ policy, rule }: Decision): string {
  const [, namespace, name] = /^\S+ ([^/]+)\/(.+)$/.exec(policy) ?? [];
  return `rbac_access_denied_matched_policy[${namespace === undefined ? 'none' : `ns[${namespace}]-policy[${name ?? ''}]-rule[${rule}]`}]`;
}

/** For people: which policy, or why none. */
export function denialReason({ reason, policy, rule }: Verdict): string {
  switch (reason) {
    case 'no match':
      return 'no rule of the ALLOW policies takes it';
    case 'no provider':
      return `${policy} rules[${rule}] asks an external authorizer that is not to be had`;
    default:
      return `${policy} rules[${rule}]`;
  }
}
