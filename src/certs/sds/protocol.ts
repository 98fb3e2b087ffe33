/**
 * The messages of Envoy's secret discovery that are used here, with the field numbers of envoy/service/discovery/v3,
 * envoy/extensions/transport_sockets/tls/v3 and google/rpc. Fields that are left out are skipped when they arrive.
 */
import { fromJSON } from '@grpc/proto-loader';
import type { MessageTypeDefinition, ServiceDefinition } from '@grpc/proto-loader';

export const SECRET_TYPE_URL = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

export interface Any {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** google.rpc.Status */
export interface ErrorDetail {
  readonly code: number;
  readonly message: string;
}

export interface DiscoveryRequest {
  readonly versionInfo: string;
  readonly resourceNames: readonly string[];
  readonly typeUrl: string;
  readonly responseNonce: string;
  /** Set when the response of that nonce was rejected. */
  readonly errorDetail: ErrorDetail | null;
}

export interface DiscoveryResponse {
  readonly versionInfo: string;
  readonly resources: readonly Any[];
  readonly typeUrl: string;
  readonly nonce: string;
}

export interface DeltaDiscoveryRequest {
  readonly typeUrl: string;
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: Readonly<Record<string, string>>;
  readonly responseNonce: string;
  readonly errorDetail: ErrorDetail | null;
}

export interface DeltaDiscoveryResponse {
  readonly systemVersionInfo: string;
  readonly resources: readonly { readonly name: string; readonly version: string; readonly resource: Any }[];
  readonly typeUrl: string;
  readonly nonce: string;
  readonly removedResources: readonly string[];
}

export interface DataSource {
  readonly inlineBytes: Uint8Array;
}

export interface Secret {
  readonly name: string;
  readonly tlsCertificate?: { readonly certificateChain: DataSource; readonly privateKey: DataSource };
  readonly validationContext?: { readonly trustedCa: DataSource };
}

const discovery = {
  DiscoveryRequest: {
    fields: {
      versionInfo: { type: 'string', id: 1 },
      resourceNames: { rule: 'repeated', type: 'string', id: 3 },
      typeUrl: { type: 'string', id: 4 },
      responseNonce: { type: 'string', id: 5 },
      errorDetail: { type: 'google.rpc.Status', id: 6 },
    },
  },
  DiscoveryResponse: {
    fields: {
      versionInfo: { type: 'string', id: 1 },
      resources: { rule: 'repeated', type: 'google.protobuf.Any', id: 2 },
      typeUrl: { type: 'string', id: 4 },
      nonce: { type: 'string', id: 5 },
    },
  },
  DeltaDiscoveryRequest: {
    fields: {
      typeUrl: { type: 'string', id: 2 },
      resourceNamesSubscribe: { rule: 'repeated', type: 'string', id: 3 },
      resourceNamesUnsubscribe: { rule: 'repeated', type: 'string', id: 4 },
      initialResourceVersions: { keyType: 'string', type: 'string', id: 5 },
      responseNonce: { type: 'string', id: 6 },
      errorDetail: { type: 'google.rpc.Status', id: 7 },
    },
  },
  DeltaDiscoveryResponse: {
    fields: {
      systemVersionInfo: { type: 'string', id: 1 },
      resources: { rule: 'repeated', type: 'Resource', id: 2 },
      typeUrl: { type: 'string', id: 4 },
      nonce: { type: 'string', id: 5 },
      removedResources: { rule: 'repeated', type: 'string', id: 6 },
    },
  },
  Resource: {
    fields: {
      version: { type: 'string', id: 1 },
      resource: { type: 'google.protobuf.Any', id: 2 },
      name: { type: 'string', id: 3 },
    },
  },
};

const tls = {
  Secret: {
    oneofs: { type: { oneof: ['tlsCertificate', 'validationContext'] } },
    fields: {
      name: { type: 'string', id: 1 },
      tlsCertificate: { type: 'TlsCertificate', id: 2 },
      validationContext: { type: 'CertificateValidationContext', id: 4 },
    },
  },
  TlsCertificate: {
    fields: {
      certificateChain: { type: 'envoy.config.core.v3.DataSource', id: 1 },
      privateKey: { type: 'envoy.config.core.v3.DataSource', id: 2 },
    },
  },
  CertificateValidationContext: { fields: { trustedCa: { type: 'envoy.config.core.v3.DataSource', id: 1 } } },
};

const secretDiscovery = {
  SecretDiscoveryService: {
    methods: {
      DeltaSecrets: {
        requestType: 'envoy.service.discovery.v3.DeltaDiscoveryRequest',
        requestStream: true,
        responseType: 'envoy.service.discovery.v3.DeltaDiscoveryResponse',
        responseStream: true,
      },
      StreamSecrets: {
        requestType: 'envoy.service.discovery.v3.DiscoveryRequest',
        requestStream: true,
        responseType: 'envoy.service.discovery.v3.DiscoveryResponse',
        responseStream: true,
      },
      FetchSecrets: { requestType: 'envoy.service.discovery.v3.DiscoveryRequest', responseType: 'envoy.service.discovery.v3.DiscoveryResponse' },
    },
  },
};

const google = {
  protobuf: { nested: { Any: { fields: { typeUrl: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } } } },
  rpc: { nested: { Status: { fields: { code: { type: 'int32', id: 1 }, message: { type: 'string', id: 2 } } } } },
};

const packages = {
  nested: {
    google: { nested: google },
    'envoy.config.core.v3': { nested: { DataSource: { fields: { inlineBytes: { type: 'bytes', id: 2 } } } } },
    'envoy.extensions.transport_sockets.tls.v3': { nested: tls },
    'envoy.service.discovery.v3': { nested: discovery },
    'envoy.service.secret.v3': { nested: secretDiscovery },
  },
};

const messages = fromJSON(packages as Parameters<typeof fromJSON>[0], { defaults: true, arrays: true, objects: true });

export const SecretDiscoveryService = messages['envoy.service.secret.v3.SecretDiscoveryService'] as ServiceDefinition;

const secretType = messages['envoy.extensions.transport_sockets.tls.v3.Secret'] as MessageTypeDefinition<Secret, Secret>;

export function packSecret(secret: Secret): Any {
  return { typeUrl: SECRET_TYPE_URL, value: secretType.serialize(secret) };
}

export function unpackSecret(any: Any): Secret {
  return secretType.deserialize(Buffer.from(any.value));
}
