/** Istio's name of a cluster: `outbound|9080|v1|reviews.bookinfo.svc.cluster.local`. */
export function clusterName(port: number, subset: string, host: string): string {
  return `outbound|${port}|${subset}|${host}`;
}
