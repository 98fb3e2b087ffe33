/** References from one namespace to an object of another: only where a ReferenceGrant of the other lets them. */
import type { Resource } from '../resources.ts';
import type { ReferenceGrantSpec } from './resources.ts';

export interface Reference {
  /** Who names it. */
  readonly from: { readonly group: string; readonly kind: string; readonly namespace: string };
  readonly to: { readonly group: string; readonly kind: string; readonly namespace: string; readonly name: string };
}

export function isPermitted(grants: readonly Resource<ReferenceGrantSpec>[], { from, to }: Reference): boolean {
  if (from.namespace === to.namespace) return true;
  return grants.some(({ namespace, spec }) =>
    namespace === to.namespace
    && spec.from.some((one) => one.group === from.group && one.kind === from.kind && one.namespace === from.namespace)
    && spec.to.some((one) => one.group === to.group && one.kind === to.kind && (one.name === undefined || one.name === '' || one.name === to.name)));
}
