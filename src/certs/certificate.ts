/** The certificate of a workload as it is handed about: plain data, which crosses threads. Never written to a disk or a log. */

export interface WorkloadCertificate {
  /** SPIFFE id: `spiffe://cluster.local/ns/bookinfo/sa/reviews`. */
  readonly identity: string;
  /** PEM: the leaf first, then the intermediates, without the root. */
  readonly chain: string;
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PEM of every root that is trusted now; more than one while roots change. */
  readonly roots: string;
  /** Of the leaf, lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}
