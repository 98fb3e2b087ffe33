import { describe, expect, it } from 'vitest';
import { generatedObjects } from '../../src/lab/manifests.ts';
import type { KubeObject } from '../../src/lab/manifests.ts';
import { readyBut, WEB, worldOf } from './world.ts';

function objects(kind: string, notReady = 0): KubeObject[] {
  const world = worldOf(WEB);
  return generatedObjects(world, readyBut(world, ...world.pods.slice(0, notReady).map(({ name }) => name))).filter((object) => object.kind === kind);
}

describe('objects that agents read', () => {
  it('a Pod says where its namespace is, whose it is, its addresses and whether it is ready', () => {
    const [first, second] = objects('Pod', 1);
    expect(first?.metadata['annotations']).toMatchObject({ 'orlop.io/netns': expect.stringMatching(/^\/run\/netns\/ol-demo-shop-web-/) as unknown });
    expect(first?.metadata['ownerReferences']).toMatchObject([{ kind: 'ReplicaSet', name: expect.stringMatching(/^web-/) as unknown, controller: true }]);
    expect(first?.['spec']).toMatchObject({ nodeName: 'a', serviceAccountName: 'seller' });
    expect(first?.['status']).toMatchObject({ phase: 'Running', podIP: '10.7.1.2', podIPs: [{ ip: '10.7.1.2' }, { ip: 'fd00:7:1::2' }] });
    expect(first?.['status']).toMatchObject({ conditions: [{ type: 'Ready', status: 'False' }, {}, {}] });
    expect(second?.['status']).toMatchObject({ conditions: [{ type: 'Ready', status: 'True' }, {}, {}] });
  });

  it('a Service has its addresses', () => {
    expect(objects('Service')[0]?.['spec']).toMatchObject({ clusterIP: '10.7.254.1', clusterIPs: ['10.7.254.1', 'fd00:7:fe::1'], ipFamilies: ['IPv4', 'IPv6'] });
  });

  it('an EndpointSlice per family lists the pods with their target port', () => {
    const slices = objects('EndpointSlice', 1);
    expect(slices.map((slice) => slice['addressType'])).toEqual(['IPv4', 'IPv6']);
    expect(slices[0]?.metadata['labels']).toEqual({ 'kubernetes.io/service-name': 'web' });
    expect(slices[0]?.['ports']).toEqual([{ name: 'http', port: 8080, protocol: 'TCP', appProtocol: 'http' }]);
    expect(slices[0]?.['endpoints']).toMatchObject([
      { addresses: ['10.7.1.2'], conditions: { ready: false }, nodeName: 'a' },
      { addresses: ['10.7.2.2'], conditions: { ready: true }, nodeName: 'b' },
    ]);
  });

  it('a Node has its addresses', () => {
    expect(objects('Node')[1]).toMatchObject({ metadata: { name: 'b' }, status: { addresses: [{ type: 'InternalIP', address: '10.7.0.3' }, { address: 'fd00:7::3' }, { type: 'Hostname', address: 'b' }] } });
  });
});
