/** The gRPC server of the control plane: TLS, what agents ask for, and bounds. */
import { experimental, Server } from '@grpc/grpc-js';
import { CredentialService as CredentialProtocol } from '../certs/credential-protocol.ts';
import { IstioCertificateService } from '../certs/istio-ca-protocol.ts';
import { hostPort } from '../core/address.ts';
import { CA_CONNECTION_AGE_MS, CA_CONNECTION_IDLE_MS, CA_REQUEST_BYTES_MAX, CA_STREAMS_MAX } from '../core/limits.ts';
import type { CredentialService } from './credential-service.ts';
import type { ServerCertificate } from './server-certificate.ts';
import type { SigningService } from './signing-service.ts';

export interface Listen {
  readonly address: string;
  /** 0 for any. */
  readonly port: number;
}

export interface CaServices {
  readonly signing: SigningService;
  readonly credentials: CredentialService;
}

/** Serve; resolves with the port. Rejects with a sentence when the address cannot be listened on. */
export async function serveCa({ signing, credentials: gateways }: CaServices, certificate: ServerCertificate, { address, port }: Listen): Promise<{ server: Server; port: number }> {
  const server = new Server({
    'grpc.max_receive_message_length': CA_REQUEST_BYTES_MAX,
    'grpc.max_concurrent_streams': CA_STREAMS_MAX,
    'grpc.max_connection_idle_ms': CA_CONNECTION_IDLE_MS,
    'grpc.max_connection_age_ms': CA_CONNECTION_AGE_MS,
    'grpc.max_metadata_size': CA_REQUEST_BYTES_MAX,
  });
  server.addService(IstioCertificateService, { CreateCertificate: signing.createCertificate });
  server.addService(CredentialProtocol, { Follow: gateways.follow });
  // The first provider is the one of the server's certificate, whatever the type calls it; without a second, clients are asked for none.
  const credentials = experimental.createCertificateProviderServerCredentials(certificate, null, false);
  return new Promise((resolve, reject) => {
    server.bindAsync(hostPort(address, port), credentials, (error, bound) => {
      if (error === null) resolve({ server, port: bound });
      else reject(new Error(`cannot listen on ${hostPort(address, port)}: ${error.message}; choose another address with --listen`));
    });
  });
}
