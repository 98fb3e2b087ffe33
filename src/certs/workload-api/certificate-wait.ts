/** A call that needs the caller's certificate once, and waits for it within bounds. */
import { status } from '@grpc/grpc-js';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Endable, Failure } from './caller.ts';
import { CertificateFeed } from './certificate-feed.ts';

/** The certificate, or why there is none: not issued in time, the client gave up, the pod left the mesh. */
export async function awaitCertificate(caller: Caller, call: { on(event: 'cancelled', fn: () => void): unknown }): Promise<WorkloadCertificate | Failure> {
  const { promise, resolve } = Promise.withResolvers<WorkloadCertificate | Failure>();
  const settle = (): void => {
    if (feed.current !== undefined) resolve(feed.current);
  };
  const feed = new CertificateFeed(caller, { changed: settle, late: resolve });
  const waiting: Endable = { end: resolve };
  caller.open.add(waiting);
  call.on('cancelled', () => {
    resolve({ code: status.CANCELLED, details: 'cancelled' });
  });
  settle();
  try {
    return await promise;
  } finally {
    feed.close();
    caller.open.delete(waiting);
  }
}
