/** The SPIFFE Workload API for one attested caller: X.509 identities and bundles. */
import { status } from '@grpc/grpc-js';
import type { Metadata, sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Failure } from './caller.ts';
import { CertificateStream } from './certificate-stream.ts';
import { derOf } from './der.ts';
import type { X509BundlesResponse, X509SvidResponse } from './protocol.ts';

/** SPIFFE_Workload_Endpoint.md §6: keeps apart those who mean this API from those who were tricked into calling it. */
const SECURITY_HEADER = 'workload.spiffe.io';

type Stream<Response> = ServerWritableStream<unknown, Response>;
type Unary = ServerUnaryCall<unknown, never>;

export interface WorkloadHandlers {
  FetchX509SVID(call: Stream<X509SvidResponse>): void;
  FetchX509Bundles(call: Stream<X509BundlesResponse>): void;
  FetchJWTSVID(call: Unary, reply: sendUnaryData<never>): void;
  FetchJWTBundles(call: Stream<never>): void;
  ValidateJWTSVID(call: Unary, reply: sendUnaryData<never>): void;
}

export function workloadHandlers(caller: Caller): WorkloadHandlers {
  return {
    FetchX509SVID: (call) => follow(call, caller, (certificate) => svidOf(caller, certificate), ({ chain, roots }) => `${chain}${roots}`),
    FetchX509Bundles: (call) => follow(call, caller, (certificate) => bundlesOf(caller, certificate), ({ roots }) => roots),
    FetchJWTSVID: (call, reply) => reply(headerMissing(call.metadata) ?? NO_TOKENS),
    FetchJWTBundles: (call) => void call.emit('error', headerMissing(call.metadata) ?? NO_TOKENS),
    ValidateJWTSVID: (call, reply) => reply(headerMissing(call.metadata) ?? NO_TOKENS),
  };
}

const NO_TOKENS: Failure = { code: status.UNIMPLEMENTED, details: 'identities of this mesh are X.509 certificates; there are no JWT-SVIDs' };

/** Answer with `make` at once and whenever what is public of it changes. */
function follow<Response>(
  call: Stream<Response>,
  caller: Caller,
  make: (certificate: WorkloadCertificate) => Response,
  contentOf: (certificate: WorkloadCertificate) => string,
): void {
  const failure = headerMissing(call.metadata);
  if (failure !== undefined) {
    call.emit('error', failure);
    return;
  }
  let sent: string | undefined;
  const stream = new CertificateStream(call, caller, (certificate) => {
    if (certificate === undefined || contentOf(certificate) === sent) return undefined;
    sent = contentOf(certificate);
    return make(certificate);
  });
  stream.push();
}

function headerMissing(metadata: Metadata): Failure | undefined {
  const values = metadata.get(SECURITY_HEADER);
  return values.length === 1 && values[0] === 'true' ? undefined : { code: status.INVALID_ARGUMENT, details: `metadata "${SECURITY_HEADER}: true" is missing` };
}

function svidOf({ identity }: Caller, { chain, key, roots }: WorkloadCertificate): X509SvidResponse {
  return { svids: [{ spiffeId: identity, x509Svid: derOf(chain), x509SvidKey: derOf(key), bundle: derOf(roots) }] };
}

function bundlesOf({ trustDomainId }: Caller, { roots }: WorkloadCertificate): X509BundlesResponse {
  return { bundles: { [trustDomainId]: derOf(roots) } };
}
