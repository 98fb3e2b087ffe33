/** Envoy's SecretDiscoveryService for one attested caller. */
import { status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Failure } from '../workload-api/caller.ts';
import { CertificateStream } from '../workload-api/certificate-stream.ts';
import { awaitCertificate } from '../workload-api/certificate-wait.ts';
import { Incremental } from './incremental.ts';
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse } from './protocol.ts';
import { Secrets, versionOf } from './secrets.ts';
import { responseOf, StateOfTheWorld } from './state-of-the-world.ts';
import { noteUnknown, refusal } from './subscription.ts';

interface Subscription<Request, Response> {
  take(request: Request): Failure | undefined;
  next(certificate: WorkloadCertificate | undefined): Response | undefined;
}

export interface SecretHandlers {
  StreamSecrets(call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>): void;
  DeltaSecrets(call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>): void;
  FetchSecrets(call: ServerUnaryCall<DiscoveryRequest, DiscoveryResponse>, reply: sendUnaryData<DiscoveryResponse>): void;
}

export function secretHandlers(caller: Caller): SecretHandlers {
  return {
    StreamSecrets: (call) => serve(call, caller, new StateOfTheWorld(caller)),
    DeltaSecrets: (call) => serve(call, caller, new Incremental(caller)),
    FetchSecrets: (call, reply) => {
      void fetchSecrets(call, caller).then((answer) => ('code' in answer ? reply(answer) : reply(null, answer)));
    },
  };
}

function serve<Request, Response>(call: ServerDuplexStream<Request, Response>, caller: Caller, subscription: Subscription<Request, Response>): void {
  const stream = new CertificateStream(call, caller, (certificate) => subscription.next(certificate));
  call.on('data', (request: Request) => {
    const failure = subscription.take(request);
    if (failure === undefined) stream.push();
    else stream.end(failure);
  });
  call.on('end', () => stream.finish());
}

async function fetchSecrets(call: ServerUnaryCall<DiscoveryRequest, DiscoveryResponse>, caller: Caller): Promise<DiscoveryResponse | Failure> {
  const { typeUrl, resourceNames } = call.request;
  const failure = refusal(typeUrl, resourceNames);
  if (failure !== undefined) return failure;
  const secrets = new Secrets(caller);
  const names = [...new Set(resourceNames)];
  noteUnknown(caller, secrets, names);
  if (!names.some((name) => secrets.has(name))) return { code: status.NOT_FOUND, details: `none of these secrets is there for ${caller.identity}` };
  const certificate = await awaitCertificate(caller, call);
  if ('code' in certificate) return certificate;
  const found = names.flatMap((name) => secrets.named(name, certificate) ?? []);
  return responseOf(found, versionOf(found.map(({ version }) => version).join()), '');
}
