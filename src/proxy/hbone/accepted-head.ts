/** The answer that opens a tunnelled connection: 200, without a length, and who the server is (ztunnel: ENABLE_RESPONSE_BAGGAGE). */
import { LENGTH_UNKNOWN, ResponseHead } from '../head.ts';
import type { WorkloadHandle } from '../workload.ts';

export function acceptedHead({ baggage }: WorkloadHandle): ResponseHead {
  const head = new ResponseHead(200, '');
  head.contentLength = LENGTH_UNKNOWN;
  if (baggage !== '') head.headers.add('baggage', baggage);
  return head;
}
