/** BackendTLSPolicies: how a gateway speaks TLS to the pods of a Service. They say nothing to clients of the mesh, which have mutual TLS. */
import type { RegistryPort, RegistryService } from '../compile/registry.ts';
import type { Resource } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ObjectRef, UpstreamTls } from '../table.ts';
import type { Complaint } from './listeners.ts';
import { byRouteAge } from './order.ts';
import type { BackendTlsPolicySpec } from './resources.ts';
import type { Attachment } from './rules.ts';

export type BackendTlsPolicy = Resource<BackendTlsPolicySpec>;

/** What a policy comes to, or why it comes to nothing: then requests are refused, not sent in plaintext. */
export type BackendTls = { readonly tls: UpstreamTls; readonly complaints: readonly Complaint[] } | { readonly tls: undefined; readonly complaints: readonly [Complaint, ...Complaint[]] };

/** The policy for a port of a Service: one that names the port before one that does not, then the older one. */
export function policyFor({ ref }: Pick<RegistryService, 'ref'>, portName: string, { gatewayApi }: Snapshot): BackendTlsPolicy | undefined {
  const targeting = (section: string | undefined): BackendTlsPolicy[] =>
    gatewayApi.backendTlsPolicies.filter(({ namespace, spec }) => namespace === ref.namespace && spec.targetRefs.some((target) => isService(target) && target.name === ref.name && (target.sectionName ?? undefined) === section)).sort(byRouteAge);
  return (portName === '' ? undefined : targeting(portName)[0]) ?? targeting(undefined)[0];
}

export function isService({ group, kind }: { readonly group: string; readonly kind: string }): boolean {
  return (group === '' || group === 'core') && kind === 'Service';
}

export function portNameOf({ ref }: Pick<RegistryService, 'ref'>, { port }: Pick<RegistryPort, 'port'>, { services }: Snapshot): string {
  return services.find(({ origin }) => origin.namespace === ref.namespace && origin.name === ref.name)?.ports.find((one) => one.port === port)?.name ?? '';
}

/** `credential`: what the gateway shows to servers that ask for a certificate (GatewaySpec.tls.backend). */
export function readPolicy({ namespace, spec }: BackendTlsPolicy, credential: ObjectRef | undefined): BackendTls {
  const { hostname, caCertificateRefs = [], wellKnownCACertificates, subjectAltNames = [] } = spec.validation;
  const authorities: ObjectRef[] = [];
  const complaints: Complaint[] = [];
  for (const { group, kind, name } of caCertificateRefs) {
    if ((group === '' || group === 'core') && (kind === 'ConfigMap' || kind === 'Secret')) authorities.push({ kind, namespace, name });
    else complaints.push({ reason: 'InvalidKind', message: `authorities of kind ${group === '' ? kind : `${kind}.${group}`} are not honoured; name a ConfigMap` });
  }
  if (authorities.length === 0 && wellKnownCACertificates !== 'System') {
    return { tls: undefined, complaints: [complaints[0] ?? { reason: 'InvalidCACertificateRef', message: `there is no authority to tell the server by; name a ConfigMap, or wellKnownCACertificates: System` }, ...complaints.slice(1)] };
  }
  const tls: UpstreamTls = {
    mode: credential === undefined ? 'SIMPLE' : 'MUTUAL',
    sni: hostname,
    subjectAltNames: subjectAltNames.map((name) => name.hostname ?? name.uri ?? ''),
    clientCertificate: '', privateKey: '', caCertificates: '', credentialName: '',
    insecureSkipVerify: false,
    onlyNames: true,
    ...(authorities.length === 0 ? {} : { authorities }),
    ...(credential === undefined ? {} : { credential }),
  };
  return { tls, complaints };
}

/** Rules of a listener: a backend whose policy comes to nothing is not sent to. */
export function listenerRules(port: number, snapshot: Snapshot): Attachment {
  return {
    snapshot,
    port,
    objection: ({ service, port: of }) => {
      const policy = policyFor(service, portNameOf(service, of, snapshot), snapshot);
      const read = policy === undefined ? undefined : readPolicy(policy, undefined);
      return read === undefined || read.tls !== undefined ? undefined : `BackendTLSPolicy ${service.ref.namespace}/${policy?.name ?? ''}: ${read.complaints[0].message}`;
    },
  };
}
