/** Follows what the control plane has for this node's gateways. While it is away, what is known stays in use. */
import type { ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import type { ControlChannel } from './control-channel.ts';
import { CredentialService } from './credential-protocol.ts';
import type { CredentialMessage } from './credential-protocol.ts';

export interface CredentialClientOptions {
  readonly channel: ControlChannel;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly hear: (message: CredentialMessage) => void;
}

const RETRY_MS = { first: 500, most: 5_000 };

export class CredentialClient {
  readonly #options: CredentialClientOptions;
  #stream: ClientReadableStream<CredentialMessage> | undefined;
  #timer: Timer | undefined;
  #failures = 0;
  #told = '';
  #closed = false;

  /** Begins to follow at once. */
  constructor(options: CredentialClientOptions) {
    this.#options = options;
    this.#follow();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#stream?.cancel();
  }

  #follow(): void {
    try {
      this.#open();
    } catch (error) {
      // The file of the token cannot be read now.
      this.#again(error instanceof Error ? error.message : String(error));
    }
  }

  #open(): void {
    const { channel, hear, log } = this.#options;
    const { path, requestSerialize, responseDeserialize } = methodOf();
    const stream = channel.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {}, channel.proof) as ClientReadableStream<CredentialMessage>;
    this.#stream = stream;
    let over = false;
    const end = (reason: string | undefined): void => {
      if (over) return;
      over = true;
      this.#again(reason);
    };
    stream.on('data', (message: CredentialMessage) => {
      this.#failures = 0;
      if (this.#told !== '') log.info({}, 'certificates of gateways are followed again');
      this.#told = '';
      hear(message);
    });
    stream.on('error', (error: ServiceError) => end(channel.failure(error)));
    // The server ends each stream after a while, so that who follows proves anew who it is.
    stream.on('end', () => end(undefined));
  }

  /** Said once for each reason. */
  #again(reason: string | undefined): void {
    if (this.#closed) return;
    const { clock, random, log } = this.#options;
    if (reason !== undefined && reason !== this.#told) {
      this.#told = reason;
      log.warn({ reason: `the control plane ${reason}` }, 'certificates of gateways cannot be followed; those that are known stay in use');
    }
    const mostMs = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 10);
    this.#timer = clock.after(mostMs * (0.5 + random.next() / 2), () => this.#follow());
  }
}

function methodOf(): NonNullable<(typeof CredentialService)[string]> {
  const method = CredentialService['Follow'];
  if (method === undefined) throw new Error('the service has no such method');
  return method;
}
