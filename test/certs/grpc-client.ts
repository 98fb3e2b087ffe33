/** Clients of the two services on the workload socket, by grpc-js: what they are sent, one at a time. */
import { credentials, makeGenericClientConstructor, Metadata } from '@grpc/grpc-js';
import type { Client, ClientDuplexStream, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import { SECRET_TYPE_URL, SecretDiscoveryService, unpackSecret } from '../../src/certs/sds/protocol.ts';
import type { Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Secret } from '../../src/certs/sds/protocol.ts';
import { SpiffeWorkloadAPI } from '../../src/certs/workload-api/protocol.ts';

interface Cancellable {
  cancel(): void;
}

type Methods = Readonly<Record<string, (...args: unknown[]) => unknown>>;

/** Messages in the order they came; asking for one that has not come waits for it. The end is an error. */
export class Incoming<Message> {
  readonly #come: Message[] = [];
  #wake: () => void = () => undefined;
  #error: ServiceError | Error | undefined;

  constructor(call: ClientReadableStream<Message> | ClientDuplexStream<unknown, Message>) {
    call.on('data', (message: Message) => {
      this.#come.push(message);
      this.#wake();
    });
    for (const event of ['error', 'end'] as const) {
      call.on(event, (error?: ServiceError) => {
        this.#error ??= error ?? new Error('ended');
        this.#wake();
      });
    }
  }

  async next(): Promise<Message> {
    for (;;) {
      const message = this.#come.shift();
      if (message !== undefined) return message;
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** How many have come and were not asked for. */
  get waiting(): number {
    return this.#come.length;
  }

  /** How the call failed. */
  async failure(): Promise<ServiceError> {
    try {
      for (;;) await this.next();
    } catch (error) {
      return error as ServiceError;
    }
  }
}

export class SecretClient implements Disposable {
  readonly #client: Client;
  readonly #methods: Methods;
  readonly #calls: Cancellable[] = [];

  constructor(path: string) {
    this.#client = open(SecretDiscoveryService, path);
    this.#methods = this.#client as unknown as Methods;
  }

  stream(): { ask: (request: Partial<DiscoveryRequest>) => void; end: () => void; incoming: Incoming<DiscoveryResponse> } {
    const call = this.#methods['StreamSecrets']?.call(this.#client) as ClientDuplexStream<Partial<DiscoveryRequest>, DiscoveryResponse>;
    this.#calls.push(call);
    return {
      ask: (request) => {
        call.write({ typeUrl: SECRET_TYPE_URL, ...request });
      },
      end: () => {
        call.end();
      },
      incoming: new Incoming(call),
    };
  }

  delta(): { ask: (request: Partial<DeltaDiscoveryRequest>) => void; incoming: Incoming<DeltaDiscoveryResponse> } {
    const call = this.#methods['DeltaSecrets']?.call(this.#client) as ClientDuplexStream<Partial<DeltaDiscoveryRequest>, DeltaDiscoveryResponse>;
    this.#calls.push(call);
    return {
      ask: (request) => {
        call.write({ typeUrl: SECRET_TYPE_URL, ...request });
      },
      incoming: new Incoming(call),
    };
  }

  async fetch(resourceNames: readonly string[], typeUrl = SECRET_TYPE_URL): Promise<DiscoveryResponse> {
    return unary(this.#client, this.#methods['FetchSecrets'], this.#calls, { resourceNames, typeUrl });
  }

  [Symbol.dispose](): void {
    for (const call of this.#calls) call.cancel();
    this.#client.close();
  }
}

export class WorkloadClient implements Disposable {
  readonly #client: Client;
  readonly #methods: Methods;
  readonly #calls: Cancellable[] = [];
  readonly #metadata = new Metadata();

  constructor(path: string, header: string | undefined = 'true') {
    this.#client = open(SpiffeWorkloadAPI, path);
    this.#methods = this.#client as unknown as Methods;
    if (header !== '') this.#metadata.set('workload.spiffe.io', header);
  }

  follow<Message>(method: 'FetchX509SVID' | 'FetchX509Bundles' | 'FetchJWTBundles'): Incoming<Message> {
    const call = this.#methods[method]?.call(this.#client, {}, this.#metadata) as ClientReadableStream<Message>;
    this.#calls.push(call);
    return new Incoming(call);
  }

  async fetch(method: 'FetchJWTSVID' | 'ValidateJWTSVID'): Promise<unknown> {
    return unary(this.#client, this.#methods[method], this.#calls, {}, this.#metadata);
  }

  /** Send what is no protobuf message as a request for secrets. */
  async garbage(): Promise<unknown> {
    const bytes = (): Buffer => Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeBidiStreamRequest('/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets', bytes, (answer) => answer);
      call.on('error', reject);
      call.on('end', resolve);
      call.on('data', resolve);
      call.write({});
    });
  }

  [Symbol.dispose](): void {
    for (const call of this.#calls) call.cancel();
    this.#client.close();
  }
}

/** The secrets of a response, by name. */
export function secretsOf(resources: readonly Any[]): Record<string, Secret> {
  return Object.fromEntries(resources.map((resource) => {
    if (resource.typeUrl !== SECRET_TYPE_URL) throw new Error(`a resource of type ${resource.typeUrl}`);
    const secret = unpackSecret(resource);
    return [secret.name, secret];
  }));
}

function open(service: ServiceDefinition, path: string): Client {
  const Constructor = makeGenericClientConstructor(service, '');
  return new Constructor(`unix:${path}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.default_authority': 'localhost' });
}

async function unary<Response>(client: Client, method: Methods[string] | undefined, calls: Cancellable[], ...args: unknown[]): Promise<Response> {
  return new Promise((resolve, reject) => {
    calls.push(method?.call(client, ...args, (error: ServiceError | null, response: Response) => (error === null ? resolve(response) : reject(error))) as Cancellable);
  });
}
