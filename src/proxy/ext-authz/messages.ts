/**
 * Messages of `envoy.service.auth.v3.Authorization/Check`: the fields that are sent and read here, with their numbers in Envoy's
 * api/envoy/service/auth/v3 and what it imports. The loader is only loaded when a gRPC provider is asked for the first time:
 * it costs a worker some 11 MiB.
 */
import type { ServiceDefinition } from '@grpc/proto-loader';

export interface CheckRequest {
  readonly attributes: {
    readonly source: Peer;
    readonly destination: Peer;
    readonly request?: { readonly time: { readonly seconds: number; readonly nanos: number }; readonly http: HttpRequest };
  };
}

export interface Peer {
  readonly address: { readonly socket_address: { readonly address: string; readonly port_value: number } };
  /** SPIFFE id. */
  readonly principal: string;
}

export interface HttpRequest {
  readonly id: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly host: string;
  readonly scheme: string;
  /** -1: not known. */
  readonly size: number;
  readonly protocol: string;
  readonly body?: string;
  readonly raw_body?: Buffer;
}

/** Absent messages are null. */
export interface CheckResponse {
  readonly status: { readonly code: number; readonly message: string } | null;
  readonly denied_response: { readonly status: { readonly code: number } | null; readonly headers: readonly HeaderValueOption[]; readonly body: string } | null;
  readonly ok_response: {
    readonly headers: readonly HeaderValueOption[];
    readonly headers_to_remove: readonly string[];
    readonly response_headers_to_add: readonly HeaderValueOption[];
  } | null;
}

export interface HeaderValueOption {
  readonly header: { readonly key: string; readonly value: string } | null;
  /** The old way; null = not said. */
  readonly append: { readonly value: boolean } | null;
  /** {@link APPEND_ACTIONS} by number. */
  readonly append_action: number;
}

export interface Messages {
  readonly encode: (request: CheckRequest) => Buffer;
  /** Throws on what is no CheckResponse. */
  readonly decode: (bytes: Buffer) => CheckResponse;
}

const field = (type: string, id: number): object => ({ type, id });
const list = (type: string, id: number): object => ({ type, id, rule: 'repeated' });
const message = (fields: Readonly<Record<string, object>>): object => ({ fields });

/** In protobuf.js' JSON form. Packages do not matter on the wire. */
const SCHEMA = {
  nested: {
    Authorization: { methods: { Check: { requestType: 'CheckRequest', responseType: 'CheckResponse' } } },
    CheckRequest: message({ attributes: field('AttributeContext', 1) }),
    AttributeContext: message({ source: field('Peer', 1), destination: field('Peer', 2), request: field('Request', 4) }),
    Peer: message({ address: field('Address', 1), principal: field('string', 4) }),
    Address: message({ socket_address: field('SocketAddress', 1) }),
    SocketAddress: message({ address: field('string', 2), port_value: field('uint32', 3) }),
    Request: message({ time: field('Timestamp', 1), http: field('HttpRequest', 2) }),
    Timestamp: message({ seconds: field('int64', 1), nanos: field('int32', 2) }),
    HttpRequest: message({
      id: field('string', 1),
      method: field('string', 2),
      headers: { keyType: 'string', type: 'string', id: 3 },
      path: field('string', 4),
      host: field('string', 5),
      scheme: field('string', 6),
      size: field('int64', 9),
      protocol: field('string', 10),
      body: field('string', 11),
      raw_body: field('bytes', 12),
    }),
    CheckResponse: message({ status: field('Status', 1), denied_response: field('DeniedHttpResponse', 2), ok_response: field('OkHttpResponse', 3) }),
    Status: message({ code: field('int32', 1), message: field('string', 2) }),
    DeniedHttpResponse: message({ status: field('HttpStatus', 1), headers: list('HeaderValueOption', 2), body: field('string', 3) }),
    OkHttpResponse: message({ headers: list('HeaderValueOption', 2), headers_to_remove: list('string', 5), response_headers_to_add: list('HeaderValueOption', 6) }),
    HttpStatus: message({ code: field('int32', 1) }),
    HeaderValueOption: message({ header: field('HeaderValue', 1), append: field('BoolValue', 2), append_action: field('int32', 3) }),
    HeaderValue: message({ key: field('string', 1), value: field('string', 2) }),
    BoolValue: message({ value: field('bool', 1) }),
  },
};

let messages: Promise<Messages> | undefined;

export async function loadMessages(): Promise<Messages> {
  messages ??= load();
  return messages;
}

async function load(): Promise<Messages> {
  const { fromJSON } = await import('@grpc/proto-loader');
  const service = fromJSON(SCHEMA as Parameters<typeof fromJSON>[0], { keepCase: true, longs: Number, defaults: true, arrays: true })['Authorization'] as ServiceDefinition;
  const { requestSerialize, responseDeserialize } = service['Check'] as ServiceDefinition[string];
  return { encode: requestSerialize, decode: responseDeserialize as unknown as Messages['decode'] };
}
