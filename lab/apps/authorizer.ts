/**
 * An external authorizer for CUSTOM policies, over HTTP and over gRPC: lets a request pass whose header `x-allow` is `yes`, tells
 * the application by `x-authorized-by`, and refuses everything else with its own words. Opaque connections pass by their client's identity.
 */
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Server, ServerCredentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import type { GrpcObject, ServerUnaryCall, ServiceClientConstructor, sendUnaryData } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const HTTP_PORT = Number(process.env['HTTP_PORT'] ?? 8000);
const GRPC_PORT = Number(process.env['GRPC_PORT'] ?? 9000);
/** SPIFFE ids that may open connections, separated by commas. */
const MAY_CONNECT = (process.env['MAY_CONNECT'] ?? '').split(',');

interface Question {
  readonly attributes: { readonly source: { readonly principal: string }; readonly request: { readonly http: { readonly headers: Readonly<Record<string, string>> } } | null };
}

const REFUSAL = 'denied by the authorizer: x-allow is not yes\n';

function answer({ attributes: { source, request } }: Question): object {
  if (request === null) return { status: { code: MAY_CONNECT.includes(source.principal) ? status.OK : status.PERMISSION_DENIED } };
  if (request.http.headers['x-allow'] !== 'yes') return { status: { code: status.PERMISSION_DENIED }, denied_response: { status: { code: 403 }, body: REFUSAL } };
  return { status: { code: status.OK }, ok_response: { headers: [{ header: { key: 'x-authorized-by', value: `grpc for ${source.principal}` } }] } };
}

createServer((request, response) => {
  request.resume();
  if (request.headers['x-allow'] === 'yes') response.writeHead(200, { 'x-authorized-by': 'http' }).end();
  else response.writeHead(403, { 'content-type': 'text/plain' }).end(REFUSAL);
}).listen(HTTP_PORT, '::', () => {
  process.stdout.write(`authorizer listens on ${HTTP_PORT} (HTTP)\n`);
});

const definition = loadPackageDefinition(loadSync(join(import.meta.dirname, 'external_auth.proto'), { keepCase: true, defaults: true }));
const v3 = ['envoy', 'service', 'auth', 'v3'].reduce((at, name) => at[name] as GrpcObject, definition);
const server = new Server();
server.addService((v3['Authorization'] as ServiceClientConstructor).service, {
  Check: ({ request }: ServerUnaryCall<Question, object>, done: sendUnaryData<object>) => done(null, answer(request)),
});
server.bindAsync(`[::]:${GRPC_PORT}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write(`authorizer listens on ${GRPC_PORT} (gRPC)\n`);
});
