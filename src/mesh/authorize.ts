/**
 * Who may do what, decided from compiled policies alone, so that the data plane, `orlop authz` and `orlop explain` cannot
 * differ. Istio's order: CUSTOM first, then DENY, then ALLOW; AUDIT and dry-run policies only take notes.
 */
import type { AuthorizationPolicies, AuthorizationPolicy, AuthorizationRequest, AuthorizationRule, ExtAuthzProvider } from './security.ts';

/** A rule that took the request; rule -1: the policy as a whole did, or none of its kind. */
export interface Decision {
  /** `AuthorizationPolicy shop/viewers`; empty when no policy decided. */
  readonly policy: string;
  readonly rule: number;
}

export interface Verdict extends Decision {
  /** Whether it may pass; where {@link custom} is set, that is if its provider agrees. */
  readonly allowed: boolean;
  /**
   * `open`: no ALLOW policy selects the workload. `no match`: there are some, and none allows this. `no provider`: a CUSTOM policy
   * takes it, and there is nobody to ask.
   */
  readonly reason: 'open' | 'allowed' | 'denied' | 'no match' | 'no provider';
  readonly custom: CustomDecision | undefined;
  /** AUDIT rules that take it. */
  readonly audited: readonly Decision[];
  /** What policies in dry-run would have done. */
  readonly dryRun: readonly DryRun[];
}

export interface CustomDecision extends Decision {
  readonly provider: ExtAuthzProvider;
}

export interface DryRun extends Decision {
  readonly result: 'allowed' | 'denied';
}

const NOBODY: Decision = Object.freeze({ policy: '', rule: -1 });
const NOTHING: readonly never[] = Object.freeze([]);

/** What CUSTOM policies say before anything else: nothing (undefined), whom to ask, or that there is nobody to ask. */
export type Consultation = CustomDecision | (Decision & { readonly provider: undefined; readonly fault: string });

/** The first CUSTOM rule that takes the request. It comes before tokens are read, so nothing of them is asked for. */
export function consult({ custom }: AuthorizationPolicies, request: AuthorizationRequest): Consultation | undefined {
  for (const policy of custom) {
    const rule = matching(policy, request);
    if (rule === undefined) continue;
    const decision = { policy: policy.origin, rule: rule.index };
    return policy.provider === undefined ? { ...decision, provider: undefined, fault: policy.providerFault } : { ...decision, provider: policy.provider };
  }
  return undefined;
}

/** The verdict on a request, or on an opaque connection. Pure. */
export function authorize(policies: AuthorizationPolicies, request: AuthorizationRequest): Verdict {
  const consultation = consult(policies, request);
  const custom = consultation?.provider === undefined ? undefined : consultation;
  const notes = { custom, audited: audit(policies.audit, request), dryRun: rehearse(policies.dryRun, request) };
  if (consultation !== undefined && custom === undefined) return { allowed: false, reason: 'no provider', policy: consultation.policy, rule: consultation.rule, ...notes };
  const denied = first(policies.deny, request);
  if (denied !== undefined) return { allowed: false, reason: 'denied', ...denied, ...notes };
  if (policies.allow.length === 0) return { allowed: true, reason: 'open', ...NOBODY, ...notes };
  const allowed = first(policies.allow, request);
  return allowed === undefined ? { allowed: false, reason: 'no match', ...NOBODY, ...notes } : { allowed: true, reason: 'allowed', ...allowed, ...notes };
}

/** Is there anything that {@link authorize} could refuse, or take note of? */
export function decidesAnything({ custom, audit: audits, deny, allow, dryRun }: AuthorizationPolicies): boolean {
  return custom.length + audits.length + deny.length + allow.length + dryRun.length > 0;
}

function first(policies: readonly AuthorizationPolicy[], request: AuthorizationRequest): Decision | undefined {
  for (const policy of policies) {
    const rule = matching(policy, request);
    if (rule !== undefined) return { policy: policy.origin, rule: rule.index };
  }
  return undefined;
}

function matching({ rules }: AuthorizationPolicy, request: AuthorizationRequest): AuthorizationRule | undefined {
  for (const rule of rules) {
    const test = request.http === undefined ? rule.tcp : rule.http;
    if (test?.(request) === true) return rule;
  }
  return undefined;
}

function audit(policies: readonly AuthorizationPolicy[], request: AuthorizationRequest): readonly Decision[] {
  if (policies.length === 0) return NOTHING;
  return policies.flatMap((policy) => {
    const rule = matching(policy, request);
    return rule === undefined ? [] : [{ policy: policy.origin, rule: rule.index }];
  });
}

/** Policies in dry-run among themselves, as if they were the only ones. */
function rehearse(policies: readonly AuthorizationPolicy[], request: AuthorizationRequest): readonly DryRun[] {
  if (policies.length === 0) return NOTHING;
  const found = policies.map((policy) => ({ policy: policy.origin, action: policy.action, rule: matching(policy, request)?.index ?? -1 }));
  const unmatched = !found.some(({ action, rule }) => action === 'ALLOW' && rule >= 0);
  return found.flatMap(({ policy, action, rule }): DryRun[] => {
    if (action === 'DENY') return rule >= 0 ? [{ policy, rule, result: 'denied' }] : [];
    return rule >= 0 ? [{ policy, rule, result: 'allowed' }] : unmatched ? [{ policy, rule, result: 'denied' }] : [];
  });
}
