/** Where certificates come from, as one text: what agents are told of them by, and what logs and status call them. */
import type { AuthoritySource, CertificateSource } from './table.ts';

/** `Secret ns/name`, `ConfigMap ns/name`, `file PATH`, `files CERTIFICATE KEY`. */
export function sourceKey(source: CertificateSource | AuthoritySource): string {
  switch (source.kind) {
    case 'files':
      return `files ${source.certificate} ${source.privateKey}`;
    case 'file':
      return `file ${source.path}`;
    default:
      return `${source.kind} ${source.namespace}/${source.name}`;
  }
}
