/**
 * The messages of the SPIFFE Workload API that are used here (SPIFFE_Workload_API.md, workload.proto). Its service belongs to
 * no protobuf package.
 */
import { fromJSON } from '@grpc/proto-loader';
import type { ServiceDefinition } from '@grpc/proto-loader';

export interface X509Svid {
  readonly spiffeId: string;
  /** DER, leaf first, one certificate after the other. */
  readonly x509Svid: Uint8Array;
  /** PKCS#8 DER. */
  readonly x509SvidKey: Uint8Array;
  /** The roots of its trust domain, DER, one after the other. */
  readonly bundle: Uint8Array;
}

export interface X509SvidResponse {
  readonly svids: readonly X509Svid[];
}

export interface X509BundlesResponse {
  /** Roots by the SPIFFE id of their trust domain. */
  readonly bundles: Readonly<Record<string, Uint8Array>>;
}

const packages = {
  nested: {
    Nothing: { fields: {} },
    X509SVIDResponse: { fields: { svids: { rule: 'repeated', type: 'X509SVID', id: 1 } } },
    X509SVID: {
      fields: {
        spiffeId: { type: 'string', id: 1 },
        x509Svid: { type: 'bytes', id: 2 },
        x509SvidKey: { type: 'bytes', id: 3 },
        bundle: { type: 'bytes', id: 4 },
      },
    },
    X509BundlesResponse: { fields: { bundles: { keyType: 'string', type: 'bytes', id: 2 } } },
    SpiffeWorkloadAPI: {
      methods: {
        FetchX509SVID: { requestType: 'Nothing', responseType: 'X509SVIDResponse', responseStream: true },
        FetchX509Bundles: { requestType: 'Nothing', responseType: 'X509BundlesResponse', responseStream: true },
        FetchJWTSVID: { requestType: 'Nothing', responseType: 'Nothing' },
        FetchJWTBundles: { requestType: 'Nothing', responseType: 'Nothing', responseStream: true },
        ValidateJWTSVID: { requestType: 'Nothing', responseType: 'Nothing' },
      },
    },
  },
};

const messages = fromJSON(packages as Parameters<typeof fromJSON>[0], { defaults: true, arrays: true, objects: true });

export const SpiffeWorkloadAPI = messages['SpiffeWorkloadAPI'] as ServiceDefinition;
