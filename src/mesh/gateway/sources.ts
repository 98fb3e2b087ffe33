/** The objects and files that a gateway takes certificates from. */
import type { ObjectRef } from '../table.ts';
import type { AuthoritySource, CertificateSource, GatewayTable, TlsServer } from './table.ts';

export type Source = CertificateSource | AuthoritySource;

/** As one text, by which agents are told of it, and which logs and status call it: `Secret ns/name`, `ConfigMap ns/name`, `file PATH`, `files CERTIFICATE KEY`. */
export function sourceKey(source: Source): string {
  switch (source.kind) {
    case 'files':
      return `files ${source.certificate} ${source.privateKey}`;
    case 'file':
      return `file ${source.path}`;
    default:
      return `${source.kind} ${source.namespace}/${source.name}`;
  }
}

/** All that the gateway's listeners show and trust, and that it shows and trusts towards servers; by key. */
export function sourcesOf({ ports, table }: GatewayTable): Map<string, Source> {
  const sources: Source[] = [];
  for (const port of ports.values()) {
    if (port.kind !== 'tls') continue;
    for (const { termination } of serversOf(port.servers)) if (termination !== undefined) sources.push(...termination.certificates, ...(termination.clients?.authorities ?? []));
  }
  for (const { tls } of table.clusters.values()) if (tls !== undefined) sources.push(...(tls.authorities ?? []), ...(tls.credential === undefined ? [] : [tls.credential]));
  return new Map(sources.map((source) => [sourceKey(source), source]));
}

export function isObject(source: Source): source is ObjectRef {
  return source.kind === 'Secret' || source.kind === 'ConfigMap';
}

function serversOf({ exact, wildcards }: { readonly exact: ReadonlyMap<string, TlsServer>; readonly wildcards: readonly { readonly server: TlsServer }[] }): TlsServer[] {
  return [...exact.values(), ...wildcards.map(({ server }) => server)];
}
