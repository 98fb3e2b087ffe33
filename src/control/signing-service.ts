/**
 * CreateCertificate: who asks is told by a bearer token, what he may have by the pods on his node. Everything else in the request is a wish.
 */
import { status } from '@grpc/grpc-js';
import type { Metadata, sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import type { CertificateAuthority } from '../certs/certificate-authority.ts';
import { CsrError } from '../certs/csr.ts';
import { IMPERSONATED_IDENTITY } from '../certs/istio-ca-protocol.ts';
import type { CreateCertificateRequest, CreateCertificateResponse } from '../certs/istio-ca-protocol.ts';
import { splitCertificates } from '../certs/pem.ts';
import type { Clock } from '../core/clock.ts';
import { SIGNINGS_BURST, SIGNINGS_PER_SECOND, SIGNINGS_UNDER_WAY_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { Rate } from '../core/rate.ts';
import { parseSpiffeId } from '../core/spiffe.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';
import type { NodeIdentities } from './node-identities.ts';

export interface SigningServiceOptions {
  readonly ca: CertificateAuthority;
  readonly authenticator: NodeAuthenticator;
  readonly identities: NodeIdentities;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Why requests were refused, as the metrics have it. */
export type Refusal = 'unauthenticated' | 'not_on_node' | 'invalid' | 'too_many' | 'failed';

/** A request that is refused: what the caller is told. */
class Refused extends Error {
  readonly reason: Refusal;
  readonly code: status;

  constructor(reason: Refusal, code: status, details: string) {
    super(details);
    this.reason = reason;
    this.code = code;
  }
}

export class SigningService {
  /** How many requests were refused, by reason. */
  readonly refused: Record<Refusal, number> = { unauthenticated: 0, not_on_node: 0, invalid: 0, too_many: 0, failed: 0 };
  readonly #options: SigningServiceOptions;
  readonly #rates = new Map<string, Rate>();
  #underWay = 0;

  constructor(options: SigningServiceOptions) {
    this.#options = options;
  }

  /** The handler of the method, as the gRPC server takes it. */
  readonly createCertificate = (call: ServerUnaryCall<CreateCertificateRequest, CreateCertificateResponse>, answer: sendUnaryData<CreateCertificateResponse>): void => {
    this.#answer(call.request, call.metadata).then(
      (response) => answer(null, response),
      (error: unknown) => {
        const { reason, code, message } = error instanceof Refused ? error : new Refused('failed', status.INTERNAL, 'the CA failed');
        this.refused[reason] += 1;
        answer({ code, details: message });
      },
    );
  };

  async #answer(request: CreateCertificateRequest, metadata: Metadata): Promise<CreateCertificateResponse> {
    const node = await this.#nodeOf(metadata);
    if (!this.#rateOf(node).take()) throw new Refused('too_many', status.RESOURCE_EXHAUSTED, `node ${node} asks for more than ${SIGNINGS_PER_SECOND} certificates a second; try again later`);
    if (this.#underWay >= SIGNINGS_UNDER_WAY_MAX) throw new Refused('too_many', status.RESOURCE_EXHAUSTED, 'the CA is busy; try again in a moment');
    this.#underWay += 1;
    try {
      return await this.#sign(request, node);
    } finally {
      this.#underWay -= 1;
    }
  }

  async #nodeOf(metadata: Metadata): Promise<string> {
    const [value] = metadata.get('authorization');
    const [, token] = /^Bearer +([!-~]+)$/i.exec(typeof value === 'string' ? value : '') ?? [];
    if (token === undefined) throw new Refused('unauthenticated', status.UNAUTHENTICATED, 'the request has no bearer token; send the token of the node as "authorization: Bearer …"');
    const node = await this.#authenticate(token);
    if (node === undefined) throw new Refused('unauthenticated', status.UNAUTHENTICATED, 'the bearer token is that of no node');
    return node;
  }

  async #authenticate(token: string): Promise<string | undefined> {
    try {
      return await this.#options.authenticator.authenticate(token);
    } catch (error) {
      this.#options.log.error({ error: error instanceof Error ? error.message : String(error) }, 'it could not be found out whose a token is');
      throw new Refused('failed', status.UNAVAILABLE, 'it cannot be found out now whose the token is; try again');
    }
  }

  async #sign({ csr, validityDuration, metadata }: CreateCertificateRequest, node: string): Promise<CreateCertificateResponse> {
    const { ca, log } = this.#options;
    const identity = metadata?.fields[IMPERSONATED_IDENTITY]?.stringValue ?? '';
    this.#authorize(node, identity);
    try {
      const { chain, roots } = await ca.sign({ csr, identity, lifetimeMs: Math.max(0, validityDuration) * 1000 });
      return { certChain: [...splitCertificates(chain), roots] };
    } catch (error) {
      if (error instanceof CsrError) throw new Refused('invalid', status.INVALID_ARGUMENT, error.message);
      const message = error instanceof Error ? error.message : String(error);
      log.error({ node, identity, error: message }, 'the CA could not sign');
      throw new Refused('failed', status.INTERNAL, message);
    }
  }

  #authorize(node: string, identity: string): void {
    const { identities, log } = this.#options;
    const id = parseSpiffeId(identity);
    if (id === undefined) {
      throw new Refused('invalid', status.INVALID_ARGUMENT, `the metadata must name the identity as ${IMPERSONATED_IDENTITY}: spiffe://<trust domain>/ns/<namespace>/sa/<service account>`);
    }
    if (identities.has(node, identity)) return;
    const { trustDomain } = identities;
    const why = id.trustDomain === trustDomain ? `no pod with service account ${id.namespace}/${id.serviceAccount} is on node ${node}` : `the trust domain of this mesh is ${trustDomain}`;
    log.warn({ node, identity }, `refused to sign: ${why}`);
    throw new Refused('not_on_node', status.PERMISSION_DENIED, why);
  }

  #rateOf(node: string): Rate {
    const known = this.#rates.get(node) ?? new Rate(this.#options.clock, { perSecond: SIGNINGS_PER_SECOND, burst: SIGNINGS_BURST });
    this.#rates.set(node, known);
    return known;
  }
}
