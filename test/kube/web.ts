/** A server that most tests ask, in the namespace `shop`: a pod of Service `web`, port 80, that says hello. */
import { BUSYBOX_IMAGE } from './cluster/images.ts';

/** Its manifests, for a pod on that node. */
export function webOn(node: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  nodeName: ${node}
  containers:
  - {name: web, image: ${BUSYBOX_IMAGE}, command: [sh, -c, 'echo hello > /var/www/index.html; exec httpd -f -p 8080 -h /var/www'], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`;
}
