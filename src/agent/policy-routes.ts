/** `/authz` and `/explain` of the admin socket: what the configuration in force means for a pod, and for a request. */
import { authzReport } from '../mesh/authz-report.ts';
import { explain } from '../mesh/explain.ts';
import { findWorkload } from '../mesh/find-workload.ts';
import { questionFrom } from '../mesh/question.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { json } from '../telemetry/http-endpoints.ts';
import type { Reply, Routes } from '../telemetry/http-endpoints.ts';

export function policyRoutes(present: () => Snapshot | undefined): Routes {
  const withSnapshot = (answer: (snapshot: Snapshot, url: URL) => Reply) => (url: URL): Reply => {
    const snapshot = present();
    return snapshot === undefined ? { status: 503, body: 'no configuration is in force yet\n' } : answer(snapshot, url);
  };
  return {
    '/authz': withSnapshot((snapshot, url) => {
      const workload = findWorkload(snapshot, url.searchParams.get('pod') ?? '');
      return typeof workload === 'string' ? { status: 404, body: `${workload}\n` } : json(authzReport(snapshot, workload));
    }),
    '/explain': withSnapshot((snapshot, url) => {
      const explanation = explain(snapshot, questionFrom(url.searchParams));
      return typeof explanation === 'string' ? { status: 404, body: `${explanation}\n` } : json(explanation);
    }),
  };
}
