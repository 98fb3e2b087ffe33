/** What agents could not take back when they ended. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removePodMarks } from '../../src/install/pod-marks.ts';
import { STATUS_ANNOTATION } from '../../src/kube/pod-status.ts';
import { ApiServer } from '../kube-api/api-server.ts';

let server: ApiServer;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
});

afterEach(async () => {
  await server.stop();
});

it('is removed from every pod that has it, in a large cluster too, and nothing else is', async () => {
  const PODS = 1_100;
  for (let i = 0; i < PODS; i += 1) server.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name: `pod-${i}`, namespace: 'shop', annotations: { owner: 'team', ...(i % 400 === 0 && { [STATUS_ANNOTATION]: '{}' }) } } });
  const client = server.client();
  expect(await removePodMarks(client)).toBe(3);
  expect(await removePodMarks(client)).toBe(0);
  for (let i = 0; i < PODS; i += 1) expect(server.get('Pod', `pod-${i}`, 'shop')?.metadata['annotations']).toEqual({ owner: 'team' });
  expect(server.requests.filter((line) => line.startsWith('PATCH'))).toHaveLength(3);
});
