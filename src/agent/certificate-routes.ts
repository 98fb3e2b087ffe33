/** `/certs` of the admin socket: the certificates of this node's pods, without their keys. */
import type { IdentityState } from '../certs/issuer.ts';
import { reportIdentity } from '../certs/report.ts';
import type { IdentityReport } from '../certs/report.ts';
import { json } from '../telemetry/http-endpoints.ts';
import type { Reply, Routes } from '../telemetry/http-endpoints.ts';

export type { CertificateReport, IdentityReport } from '../certs/report.ts';

export interface CertificateRoutesSource {
  /** Every identity of the node, as the issuer has it. */
  readonly identities: () => readonly IdentityState[];
  /** Enrolled pods: `ns/name` and SPIFFE id. */
  readonly pods: () => readonly { readonly id: string; readonly identity: string }[];
}

export function certificateRoutes(source: CertificateRoutesSource): Routes {
  return {
    '/certs': (url) => certificates(source, url.searchParams.get('pod')),
  };
}

function certificates(source: CertificateRoutesSource, pod: string | null): Reply {
  if (pod === null) return json(reports(source));
  const pods = source.pods();
  const found = pods.find(({ id }) => id === pod) ?? pods.find(({ id }) => id.endsWith(`/${pod}`));
  const report = reports(source).find(({ identity }) => identity === found?.identity);
  if (report !== undefined) return json(report);
  return { status: 404, body: `No enrolled pod "${pod}" on this node. There ${pods.length === 1 ? 'is' : 'are'}: ${pods.map(({ id }) => id).join(', ') || 'none'}\n` };
}

function reports({ identities, pods }: CertificateRoutesSource): IdentityReport[] {
  const enrolled = pods();
  return identities().map((state) => reportIdentity(state, enrolled.filter(({ identity }) => identity === state.identity).map(({ id }) => id)));
}
