/** An exchange as the data plane would report it, with what a test wants different. */
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import type { ExchangeFacts } from '../../src/telemetry/telemetry.ts';

const SERVICE = { host: 'reviews.shop.svc.cluster.local', name: 'reviews', namespace: 'shop' };

/** productpage (10.0.0.1) and reviews v2 (10.0.0.2), both enrolled. */
export function snapshotWith(meshConfig = ''): Snapshot {
  const pod = (name: string, ip: string, labels: object, owner: string): object => ({
    apiVersion: 'v1', kind: 'Pod',
    metadata: { name, namespace: 'shop', labels: { 'pod-template-hash': 'abc12', ...labels }, annotations: { 'orlop.io/mesh': 'enabled' }, ownerReferences: [{ kind: 'ReplicaSet', name: `${owner}-abc12`, controller: true }] },
    spec: { nodeName: 'n1' }, status: { podIP: ip, phase: 'Running' },
  });
  const documents = [
    pod('productpage-1', '10.0.0.1', { app: 'productpage', version: 'v1' }, 'productpage-v1'),
    pod('reviews-1', '10.0.0.2', { app: 'reviews', version: 'v2' }, 'reviews-v2'),
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'istio', namespace: 'istio-system' }, data: { mesh: meshConfig } },
  ];
  return buildSnapshot([{ name: 'all.yaml', text: documents.map((document) => `---\n${JSON.stringify(document)}\n`).join('') }]);
}

/** productpage calls reviews, seen from the client's side. */
export function facts(different: Partial<ExchangeFacts> = {}): ExchangeFacts {
  return {
    reporter: 'source',
    connection: { workload: { id: 'shop/productpage-1' }, direction: 'outbound', peer: { identity: '', security: 'local' }, remoteAddress: '10.0.0.1', remotePort: 40_000, destinationAddress: '10.96.0.7', destinationPort: 9080, serverName: '' },
    startedMs: 0,
    method: 'GET', path: '/reviews/0?x=1', authority: 'reviews:9080', protocol: 'http', versionText: 'HTTP/1.1',
    requestId: '0f8fad5b-d9cb-469f-a165-70867728950e', userAgent: 'curl/8.5.0', forwardedFor: '',
    route: undefined, cluster: undefined, service: SERVICE,
    upstreamAddress: '10.0.0.2:9080', upstreamLocalAddress: '10.0.0.1:51000', upstreamWorkload: 'shop/reviews-1',
    status: 200, grpcStatus: '', flags: '', details: '', error: undefined, upstreamServiceMs: 7.4,
    requestBytes: 120, responseBytes: 900, requestBodyBytes: 0, responseBodyBytes: 700,
    ...different,
  };
}

/** The same exchange from the server's side. */
export function serverFacts(different: Partial<ExchangeFacts> = {}): ExchangeFacts {
  return facts({
    reporter: 'destination',
    connection: { workload: { id: 'shop/reviews-1' }, direction: 'inbound', peer: { identity: '', security: 'none' }, remoteAddress: '10.0.0.1', remotePort: 40_001, destinationAddress: '10.0.0.2', destinationPort: 9080, serverName: '' },
    ...different,
  });
}
