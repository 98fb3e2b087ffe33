/** What an issuer asks of a CA, be it in the same process or at the other end of a connection. */

export interface SigningRequest {
  /** PEM. */
  readonly csr: string;
  /** The SPIFFE id that the certificate is to have. */
  readonly identity: string;
  /** The CA may grant less. */
  readonly lifetimeMs: number;
}

export interface SignedCertificate {
  /** PEM: the leaf first, then the intermediates, without the root. */
  readonly chain: string;
  /** PEM of every root that is to be trusted from now on. */
  readonly roots: string;
}

export interface CertificateAuthority {
  /** Rejects with a sentence for the log when the CA refuses, or cannot be reached. */
  sign(request: SigningRequest): Promise<SignedCertificate>;
}
