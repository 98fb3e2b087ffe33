/** The security part of a table: which resources select a workload, and what they add up to. */
import type { Resource } from '../resources.ts';
import { NO_SECURITY } from '../security.ts';
import type { InboundSecurity } from '../security.ts';
import type { AuthorizationPolicyResource, PeerAuthenticationSpec, RequestAuthenticationSpec, Selection } from '../security-resources.ts';
import type { Snapshot, Workload } from '../snapshot.ts';
import type { ClusterSpec } from '../table.ts';
import { authorizationOf } from './authorization.ts';
import { extAuthzProvidersOf } from './ext-authz.ts';
import { mtlsOf, peerAuthenticationsOf } from './peer-authentication.ts';
import { hasLabels } from './registry.ts';
import { jwtRulesOf } from './request-authentication.ts';

/** The resources that are for one workload; two workloads with the same ones, and the same probes, demand the same. */
export interface Selected {
  readonly peers: readonly Resource<PeerAuthenticationSpec>[];
  readonly tokens: readonly Resource<RequestAuthenticationSpec>[];
  readonly policies: readonly AuthorizationPolicyResource[];
  readonly probes: Workload['probes'];
  /** All of that as text, to tell classes of workloads apart. */
  readonly name: string;
}

type Selectable = Pick<Workload, 'namespace' | 'labels' | 'probes'>;

/**
 * `services`: names of the Services of its namespace that the workload is behind, for policies that target Services. `gateway`: its name, if it
 * is one of the Gateway API.
 */
export function selectSecurity(snapshot: Snapshot, workload: Selectable, services: ReadonlySet<string>, gateway?: string): Selected {
  const { rootNamespace } = snapshot.mesh;
  const isFor = ({ namespace, spec }: Resource<Selection>): boolean => (namespace === rootNamespace || namespace === workload.namespace) && covers(spec, namespace, workload, services, gateway);
  const peers = peerAuthenticationsOf(snapshot.peerAuthentications, rootNamespace, workload);
  const tokens = snapshot.requestAuthentications.filter(isFor);
  const policies = snapshot.authorizationPolicies.filter(isFor);
  const { probes } = workload;
  const name = [...[...peers, ...tokens, ...policies].map((one) => `${one.kind}:${one.namespace}/${one.name}`), ...probes.map(({ kind, port, path }) => `${kind}:${port}${path}`)].join(' ');
  return { peers, tokens, policies, probes, name };
}

/**
 * A target that is a Service stands for the workloads behind it: there is no proxy of the Service's own in between, as a
 * waypoint would be, so what it would have judged is judged at each of them, on every port.
 */
function covers({ selector, targetRef, targetRefs }: Selection, namespace: string, workload: Selectable, services: ReadonlySet<string>, gateway: string | undefined): boolean {
  const targets = targetRef === undefined ? targetRefs : [targetRef];
  if (targets !== undefined && targets.length > 0) return namespace === workload.namespace && targets.some(({ kind, name }) => (kind === 'Gateway' ? name === gateway : kind === 'Service' && services.has(name)));
  return hasLabels(workload.labels, selector?.matchLabels ?? {});
}

/** `clusters` are the workload's own, for the authorizers that it asks. */
export function compileSecurity({ mesh }: Snapshot, { peers, tokens, policies, probes, name }: Selected, clusters: ReadonlyMap<string, ClusterSpec>): InboundSecurity {
  if (name === '') return NO_SECURITY;
  return Object.freeze({
    mtls: mtlsOf(peers),
    jwtRules: jwtRulesOf(tokens),
    authorization: authorizationOf(policies, [mesh.trustDomain, ...mesh.trustDomainAliases], extAuthzProvidersOf(mesh.extensionProviders, clusters)),
    probes,
    trustedProxies: mesh.numTrustedProxies,
    pathNormalization: mesh.pathNormalization,
  });
}
