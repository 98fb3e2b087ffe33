/**
 * Istio's signing API, security/v1alpha1/ca.proto: what its own agents speak to a CA, and ours. Fields that are left out are skipped when they
 * arrive.
 */
import { fromJSON } from '@grpc/proto-loader';
import type { ServiceDefinition } from '@grpc/proto-loader';

export interface CreateCertificateRequest {
  /** PEM. */
  readonly csr: string;
  /** Seconds; 0 for as long as the CA likes. */
  readonly validityDuration: number;
  readonly metadata: { readonly fields: Readonly<Record<string, { readonly stringValue?: string }>> } | null;
}

export interface CreateCertificateResponse {
  /** PEM: the leaf, the intermediates, and in the last element every trusted root. */
  readonly certChain: readonly string[];
}

/** Key of the metadata in which an agent names the identity that it asks for on behalf of a pod (Istio: pkg/security, ImpersonatedIdentity). */
export const IMPERSONATED_IDENTITY = 'ImpersonatedIdentity';

const packages = {
  nested: {
    'google.protobuf': {
      nested: {
        Struct: { fields: { fields: { keyType: 'string', type: 'Value', id: 1 } } },
        Value: { fields: { stringValue: { type: 'string', id: 3 } } },
      },
    },
    'istio.v1.auth': {
      nested: {
        IstioCertificateRequest: {
          fields: {
            csr: { type: 'string', id: 1 },
            validityDuration: { type: 'int64', id: 3 },
            metadata: { type: 'google.protobuf.Struct', id: 4 },
          },
        },
        IstioCertificateResponse: { fields: { certChain: { rule: 'repeated', type: 'string', id: 1 } } },
        IstioCertificateService: { methods: { CreateCertificate: { requestType: 'IstioCertificateRequest', responseType: 'IstioCertificateResponse' } } },
      },
    },
  },
};

const messages = fromJSON(packages as Parameters<typeof fromJSON>[0], { defaults: true, arrays: true, objects: true, longs: Number });

export const IstioCertificateService = messages['istio.v1.auth.IstioCertificateService'] as ServiceDefinition;
