/** Worlds for the tests of the lab's pure parts, from YAML text. */
import { parseDocuments } from '../../src/lab/document.ts';
import { expand } from '../../src/lab/expand.ts';
import type { ExpandOptions } from '../../src/lab/expand.ts';
import { podKey } from '../../src/lab/world.ts';
import type { World } from '../../src/lab/world.ts';

export function worldOf(text: string, options: Partial<ExpandOptions> = {}): World {
  return expand(parseDocuments([{ file: 'lab.yaml', text }]), { number: 7, ...options });
}

/** All pods ready, but for those whose names are given. */
export function readyBut(world: World, ...names: string[]): Set<string> {
  return new Set(world.pods.filter((pod) => !names.includes(pod.name)).map(podKey));
}

export const TWO_NODES = `
apiVersion: lab.orlop.io/v1
kind: Lab
metadata: {name: demo}
spec:
  nodes: [{name: a}, {name: b, labels: {disk: ssd}}]
`;

/** A Deployment `web` of two pods on port 8080 (named http), and a Service of it. */
export const WEB = `${TWO_NODES}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: seller
      containers: [{name: web, command: [node, web.js], ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
`;
