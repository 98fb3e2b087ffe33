/**
 * The roots by which API servers know the webhook, in its ValidatingWebhookConfiguration. A new root is there long before anything is signed under
 * it, as it is everywhere (certs/rotation).
 */
import { list, record } from '../mesh/parse/json.ts';
import { unlessMissing } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { LeaderLoop } from './leader-loop.ts';
import type { LeaderLoopOptions } from './leader-loop.ts';

export interface CaBundleOptions extends Pick<LeaderLoopOptions, 'leader' | 'clock' | 'log'> {
  readonly client: ApiClient;
  /** Of the ValidatingWebhookConfiguration; where there is none of that name, nobody wants the webhook. */
  readonly name: string;
  readonly roots: () => string;
}

/** A loop that keeps them right. */
export function caBundle(options: CaBundleOptions): LeaderLoop {
  const { leader, clock, log, name } = options;
  return new LeaderLoop({ leader, clock, log, step: async () => keep(options), failed: `the roots could not be written into the ValidatingWebhookConfiguration ${name}; while they are wrong, API servers store objects without asking` });
}

async function keep({ client, name, roots }: CaBundleOptions): Promise<void> {
  const path = `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${name}`;
  const known = await unlessMissing(client.send(path));
  if (known === undefined) return;
  const bundle = Buffer.from(roots()).toString('base64');
  const webhooks = list(known['webhooks']);
  if (webhooks.every(({ clientConfig }) => record(clientConfig)['caBundle'] === bundle)) return;
  await client.send(path, { method: 'PUT', body: { ...known, webhooks: webhooks.map((webhook) => ({ ...webhook, clientConfig: { ...record(webhook['clientConfig']), caBundle: bundle } })) } });
}
