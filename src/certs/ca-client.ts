/** A CA at the other end of a connection: `orlop control`, or Istio's. */
import type { ServiceError } from '@grpc/grpc-js';
import { CA_DEADLINE_MS } from '../core/limits.ts';
import type { CertificateAuthority, SignedCertificate, SigningRequest } from './certificate-authority.ts';
import { ControlChannel } from './control-channel.ts';
import type { ControlChannelOptions } from './control-channel.ts';
import { IMPERSONATED_IDENTITY, IstioCertificateService } from './istio-ca-protocol.ts';
import type { CreateCertificateRequest, CreateCertificateResponse } from './istio-ca-protocol.ts';
import { splitCertificates } from './pem.ts';

/** The name in the server's certificate, when nothing else is asked for. */
export const CA_SERVER_NAME = 'orlop-control.orlop-system.svc';

export class CaClient implements CertificateAuthority {
  /** For what else is asked of the same server. */
  readonly channel: ControlChannel;
  readonly #options: ControlChannelOptions;

  /** Throws when the file of roots cannot be read, or holds none. */
  constructor(options: ControlChannelOptions) {
    this.#options = options;
    this.channel = new ControlChannel(options);
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
    this.channel.trust(roots);
    return { chain: [leaf, ...above].flatMap(splitCertificates).join(''), roots };
  }

  close(): void {
    this.channel.close();
  }

  async #call(request: CreateCertificateRequest): Promise<CreateCertificateResponse> {
    const { client, proof } = this.channel;
    const { path, requestSerialize, responseDeserialize } = methodOf();
    return new Promise((resolve, reject) => {
      const deadline = this.#options.clock.wallMs() + CA_DEADLINE_MS;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, proof, { deadline }, (error, response) => {
        if (error === null) resolve(response as CreateCertificateResponse);
        else reject(this.#failure(error));
      });
    });
  }

  #failure(error: ServiceError): Error {
    return new Error(`the CA at ${this.#options.address} ${this.channel.failure(error)}`);
  }
}

function methodOf(): NonNullable<(typeof IstioCertificateService)[string]> {
  const method = IstioCertificateService['CreateCertificate'];
  if (method === undefined) throw new Error('the service has no such method');
  return method;
}
