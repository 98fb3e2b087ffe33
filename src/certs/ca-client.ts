/**
 * A CA at the other end of a connection: `orlop control`, or Istio's. Its server is trusted by the roots in a file, to begin with; then by
 * those that its answers bring.
 */
import { readFileSync } from 'node:fs';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../core/clock.ts';
import { CA_ANSWER_BYTES_MAX, CA_DEADLINE_MS } from '../core/limits.ts';
import type { CertificateAuthority, SignedCertificate, SigningRequest } from './certificate-authority.ts';
import { IMPERSONATED_IDENTITY, IstioCertificateService } from './istio-ca-protocol.ts';
import type { CreateCertificateRequest, CreateCertificateResponse } from './istio-ca-protocol.ts';
import { splitCertificates } from './pem.ts';

/** The name in the server's certificate, when nothing else is asked for. */
export const CA_SERVER_NAME = 'orlop-control.orlop-system.svc';

/** A CA that comes back is found soon: certificates may be short-lived. */
const RECONNECT_MS = { first: 500, most: 2_000 };

export interface CaClientOptions {
  /** `host:port`. */
  readonly address: string;
  /** That its certificate must have; the address need not be in it. */
  readonly serverName: string;
  /** File with the PEM of the roots to trust. Read anew when the server cannot be verified with those known. */
  readonly rootsFile: string;
  /** File with the token of this node; read for each request, as Kubernetes replaces it now and then. */
  readonly tokenFile: string;
  readonly clock: Clock;
}

export class CaClient implements CertificateAuthority {
  readonly #options: CaClientOptions;
  #client: Client | undefined;
  #roots = '';
  /** Of the file, when it was last read. */
  #fileRoots = '';

  /** Throws when the file of roots cannot be read, or holds none. */
  constructor(options: CaClientOptions) {
    this.#options = options;
    this.#readRoots();
    if (this.#roots === '') throw new Error(`${options.rootsFile} holds no certificate; give the roots of the CA in PEM`);
  }

  async sign({ csr, identity, lifetimeMs }: SigningRequest): Promise<SignedCertificate> {
    const request: CreateCertificateRequest = {
      csr,
      validityDuration: Math.floor(lifetimeMs / 1000),
      metadata: { fields: { [IMPERSONATED_IDENTITY]: { stringValue: identity } } },
    };
    const { certChain } = await this.#call(request);
    const [leaf, ...above] = certChain;
    const roots = splitCertificates(above.pop() ?? '').join('');
    if (leaf === undefined || roots === '') throw new Error(`the CA at ${this.#options.address} answered without a certificate and its roots`);
    this.#trust(roots);
    return { chain: [leaf, ...above].flatMap(splitCertificates).join(''), roots };
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #call(request: CreateCertificateRequest): Promise<CreateCertificateResponse> {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${readFileSync(this.#options.tokenFile, 'utf8').trim()}`);
    const { path, requestSerialize, responseDeserialize } = methodOf();
    this.#client ??= this.#connect();
    const client = this.#client;
    return new Promise((resolve, reject) => {
      const deadline = this.#options.clock.wallMs() + CA_DEADLINE_MS;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline }, (error, response) => {
        if (error === null) resolve(response as CreateCertificateResponse);
        else reject(this.#failure(error));
      });
    });
  }

  #failure({ code, details }: ServiceError): Error {
    if (code === status.UNAVAILABLE) this.#rereadRoots();
    return new Error(`the CA at ${this.#options.address} ${AWAY.has(code) ? 'is away' : 'refused'}: ${details.replace(EMPTY_NOTE, '')}`);
  }

  #connect(): Client {
    const { address, serverName } = this.#options;
    return new Client(address, credentials.createSsl(Buffer.from(this.#roots)), {
      'grpc.ssl_target_name_override': serverName,
      'grpc.default_authority': serverName,
      'grpc.max_receive_message_length': CA_ANSWER_BYTES_MAX,
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MS.first,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MS.most,
      'grpc.enable_retries': 0,
    });
  }

  /** It may be about to be replaced, and is not needed while other roots are known. */
  #rereadRoots(): void {
    try {
      this.#readRoots();
    } catch {
      return;
    }
  }

  /** Whoever replaces the file means it, whatever answers said before. */
  #readRoots(): void {
    const roots = splitCertificates(readFileSync(this.#options.rootsFile, 'utf8')).join('');
    if (roots === this.#fileRoots || roots === '') return;
    this.#fileRoots = roots;
    this.#trust(roots);
  }

  #trust(roots: string): void {
    if (roots === this.#roots) return;
    this.#roots = roots;
    this.close();
  }
}

/** Without an answer of the CA itself. Anything else is one. */
const AWAY: ReadonlySet<status> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED]);

/** How gRPC ends its account of a connection that failed. */
const EMPTY_NOTE = / Resolution note: $/;

function methodOf(): NonNullable<(typeof IstioCertificateService)[string]> {
  const method = IstioCertificateService['CreateCertificate'];
  if (method === undefined) throw new Error('the service has no such method');
  return method;
}
