import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

import { HTTP_TARGET, renderMesh } from '../../bench/peers/mesh.ts';

interface Resource {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  spec: { clusterIP?: string; nodeName?: string };
}

function render(services: number): Resource[] {
  const pods = [{ netns: 'a', address: '10.77.1.1' }, { netns: 'b', address: '10.77.1.2' }];
  return parseAllDocuments(renderMesh({ node: 'bench', pods, backend: { node: 'other', address: '10.77.0.2' }, services })).map((document) => document.toJS() as Resource);
}

test('the node has the enrolled pods, and the backend is another node\'s', () => {
  const pods = render(1).filter((resource) => resource.kind === 'Pod');
  expect(pods.filter((pod) => pod.spec.nodeName === 'bench').map((pod) => pod.metadata.annotations)).toEqual([
    { 'orlop.io/netns': '/run/netns/a' },
    { 'orlop.io/netns': '/run/netns/b' },
  ]);
  expect(pods.find((pod) => pod.metadata.name === 'backend')!.metadata.annotations).toEqual({ 'orlop.io/mesh': 'disabled' });
});

test('each Service has an address of its own and a VirtualService, and the measured one is the first', () => {
  const resources = render(1000);
  const services = resources.filter((resource) => resource.kind === 'Service');
  expect(new Set(services.map((service) => service.spec.clusterIP)).size).toBe(1000);
  expect(resources.filter((resource) => resource.kind === 'VirtualService')).toHaveLength(1000);
  expect(services[0]!.spec.clusterIP).toBe(HTTP_TARGET.host);
});

test('a backend with a namespace of its own is enrolled on its node, and takes mutual TLS only', () => {
  const mesh = { node: 'near', pods: [{ netns: 'a', address: '10.77.1.1' }], backend: { node: 'far', address: '10.77.1.2', netns: 'b' }, services: 1 };
  const resources = parseAllDocuments(renderMesh(mesh)).map((document) => document.toJS() as Resource & { spec: object });
  const pods = resources.filter((resource) => resource.kind === 'Pod');
  expect(pods.map((pod) => [pod.spec.nodeName, pod.metadata.annotations])).toEqual([
    ['far', { 'orlop.io/netns': '/run/netns/b' }],
    ['near', { 'orlop.io/netns': '/run/netns/a' }],
  ]);
  expect(resources.find((resource) => resource.kind === 'PeerAuthentication')!.spec).toEqual({ mtls: { mode: 'STRICT' } });
  expect(render(1).some((resource) => resource.kind === 'PeerAuthentication')).toBe(false);
});
