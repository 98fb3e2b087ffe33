/** SPIFFE ids of workloads, in the one form that Istio's meshes use: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */

export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores. Namespaces and accounts as Kubernetes names them. */
const FORM = /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([A-Za-z0-9._-]{1,253})\/sa\/([A-Za-z0-9._-]{1,253})$/;

export function formatSpiffeId({ trustDomain, namespace, serviceAccount }: SpiffeId): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/** The parts of an id; undefined for anything that is not exactly of this form. */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  const [, trustDomain, namespace, serviceAccount] = FORM.exec(text) ?? [];
  return trustDomain === undefined || namespace === undefined || serviceAccount === undefined ? undefined : { trustDomain, namespace, serviceAccount };
}
