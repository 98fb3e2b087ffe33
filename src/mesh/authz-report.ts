/** What a workload demands of its callers, as plain data for people: in the order in which it is asked. */
import { formatSpiffeId } from '../core/spiffe.ts';
import { compile } from './compile/compile.ts';
import type { AuthorizationPolicy, InboundSecurity, MtlsMode } from './security.ts';
import type { Snapshot, Workload } from './snapshot.ts';

export interface AuthzReport {
  /** `shop/cart-1` */
  readonly workload: string;
  readonly identity: string;
  readonly enrolled: boolean;
  /** The general mode first, then the ports that are known. */
  readonly mtls: readonly MtlsReport[];
  readonly tokens: readonly TokenReport[];
  readonly policies: readonly PolicyReport[];
  /** What becomes of a request that no rule takes. */
  readonly otherwise: 'allowed' | 'refused';
}

export interface MtlsReport {
  /** 0: every other port. */
  readonly port: number;
  readonly mode: MtlsMode;
  readonly origin: string;
}

export interface TokenReport {
  readonly issuer: string;
  readonly origin: string;
  readonly required: boolean;
}

export interface PolicyReport {
  readonly action: string;
  /** `AuthorizationPolicy shop/viewers` */
  readonly policy: string;
  readonly dryRun: boolean;
  /** CUSTOM: whom it asks; empty otherwise. */
  readonly provider: string;
  readonly rules: readonly { readonly index: number; readonly text: string; readonly note: string }[];
}

export function authzReport(snapshot: Snapshot, workload: Workload): AuthzReport {
  const { security, inbound } = compile(snapshot, workload);
  const { custom, audit, deny, allow, dryRun } = security.authorization;
  const { namespace, serviceAccount } = workload;
  return {
    workload: workload.id,
    identity: formatSpiffeId({ trustDomain: snapshot.mesh.trustDomain, namespace, serviceAccount }),
    enrolled: workload.enrolled,
    mtls: mtlsReports(security, [...inbound.keys(), ...workload.ports.map(({ port }) => port)]),
    tokens: security.jwtRules.map(({ issuer, origin, required }) => ({ issuer, origin, required })),
    policies: [...[...custom, ...audit, ...deny, ...allow].map((policy) => policyReport(policy, false)), ...dryRun.map((policy) => policyReport(policy, true))],
    otherwise: allow.length > 0 ? 'refused' : 'allowed',
  };
}

function mtlsReports({ mtls }: InboundSecurity, known: readonly number[]): MtlsReport[] {
  const ports = [...new Set([...known, ...mtls.ports.keys()])].sort((a, b) => a - b);
  const general = { port: 0, mode: mtls.default, origin: mtls.defaultOrigin };
  return [general, ...ports.map((port) => ({ port, mode: mtls.ports.get(port) ?? mtls.default, origin: mtls.portOrigins.get(port) ?? mtls.defaultOrigin }))];
}

function policyReport({ action, origin, provider, providerFault, rules }: AuthorizationPolicy, dryRun: boolean): PolicyReport {
  return {
    action,
    policy: origin,
    dryRun,
    provider: provider?.name ?? providerFault,
    rules: rules.map(({ index, text, http, tcp }) => ({ index, text, note: http === undefined ? 'skipped: it asks for an attribute that is not known' : tcp === undefined ? 'HTTP only' : '' })),
  };
}
