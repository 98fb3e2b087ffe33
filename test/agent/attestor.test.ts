import { expect, test } from 'vitest';
import { Attestor } from '../../src/agent/attestor.ts';
import type { Attestation } from '../../src/agent/attestor.ts';
import { namespaceAt } from '../../src/sys/peer.ts';
import type { NamespaceId } from '../../src/sys/peer.ts';

// Another kind of namespace of this process stands in for a pod's: to the attestor both are files of nsfs.
const POD_PATH = '/proc/self/ns/ipc';
const POD = { id: 'shop/cart-1', identity: 'spiffe://cluster.local/ns/shop/sa/cart', netnsPath: POD_PATH };

function identify(attestor: Attestor, namespace: NamespaceId | undefined, pid = 4711): Attestation {
  return attestor.identify({ credentials: { pid, uid: 0, gid: 0 }, namespace });
}

test('a process is of the pod whose namespace it is in', () => {
  const attestor = new Attestor();
  attestor.enrol(POD);
  expect(identify(attestor, namespaceAt(POD_PATH))).toEqual({ podId: POD.id, identity: POD.identity });
  attestor.release(POD.id);
  expect(identify(attestor, namespaceAt(POD_PATH))).toEqual({ reason: 'its network namespace belongs to no enrolled pod' });
});

test.each<[string, NamespaceId | undefined, number, string]>([
  ['in the namespace of the node', namespaceAt('/proc/self/ns/net'), 1, 'it is in the network namespace of the node'],
  ['in a namespace of nobody', namespaceAt('/proc/self/ns/mnt'), 1, 'belongs to no enrolled pod'],
  ['that has ended', undefined, 1, 'its process has ended'],
  ['outside the PID namespace', namespaceAt(POD_PATH), 0, 'the agent needs hostPID'],
])('a process %s is nobody\'s', (_, namespace, pid, reason) => {
  const attestor = new Attestor();
  attestor.enrol(POD);
  expect(identify(attestor, namespace, pid)).toEqual({ reason: expect.stringContaining(reason) as string });
});

test('two pods that share a namespace are not told apart, so neither is served', () => {
  const attestor = new Attestor();
  attestor.enrol(POD);
  attestor.enrol({ ...POD, id: 'shop/payment-1' });
  expect(identify(attestor, namespaceAt(POD_PATH))).toEqual({ reason: 'its network namespace belongs to several pods: shop/cart-1, shop/payment-1' });
});

test('a path that leads elsewhere by now proves nothing', () => {
  const attestor = new Attestor();
  attestor.enrol({ ...POD, netnsPath: '/run/netns/there-is-none' });
  expect(identify(attestor, namespaceAt(POD_PATH))).toEqual({ reason: 'its network namespace belongs to no enrolled pod' });
});
