/**
 * A gRPC connection to `orlop control` (or another CA), and how a node shows who it is. The server is trusted by the roots in a file, to begin with; then by
 * those that its answers bring.
 */
import { readFileSync } from 'node:fs';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../core/clock.ts';
import { CA_ANSWER_BYTES_MAX } from '../core/limits.ts';
import { splitCertificates } from './pem.ts';

/** One that comes back is found soon: certificates may be short-lived. */
const RECONNECT_MS = { first: 500, most: 2_000 };

export interface ControlChannelOptions {
  /** `host:port`. */
  readonly address: string;
  /** That its certificate must have; the address need not be in it. */
  readonly serverName: string;
  /** File with the PEM of the roots to trust. Read anew when the server cannot be verified with those known. */
  readonly rootsFile: string;
  /** File with the token of this node; read for each request, as Kubernetes replaces it now and then. */
  readonly tokenFile: string;
  readonly clock: Clock;
}

export class ControlChannel {
  readonly #options: ControlChannelOptions;
  #client: Client | undefined;
  #roots = '';
  /** Of the file, when it was last read. */
  #fileRoots = '';

  /** Throws when the file of roots cannot be read, or holds none. */
  constructor(options: ControlChannelOptions) {
    this.#options = options;
    this.#readRoots();
    if (this.#roots === '') throw new Error(`${options.rootsFile} holds no certificate; give the roots of the CA in PEM`);
  }

  /** Connected when it is first used. */
  get client(): Client {
    this.#client ??= this.#connect();
    return this.#client;
  }

  /** The token of this node. Throws when its file cannot be read. */
  get proof(): Metadata {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${readFileSync(this.#options.tokenFile, 'utf8').trim()}`);
    return metadata;
  }

  /** A call has failed: what to say of it. */
  failure({ code, details }: Pick<ServiceError, 'code' | 'details'>): string {
    if (code === status.UNAVAILABLE) this.#rereadRoots();
    return `${AWAY.has(code) ? 'is away' : 'refused'}: ${details.replace(EMPTY_NOTE, '')}`;
  }

  /** PEM of the roots to trust from now on. */
  trust(roots: string): void {
    if (roots === this.#roots) return;
    this.#roots = roots;
    this.close();
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  #connect(): Client {
    const { address, serverName } = this.#options;
    return new Client(address, credentials.createSsl(Buffer.from(this.#roots)), {
      'grpc.ssl_target_name_override': serverName,
      'grpc.default_authority': serverName,
      'grpc.max_receive_message_length': CA_ANSWER_BYTES_MAX,
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MS.first,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MS.most,
      'grpc.enable_retries': 0,
    });
  }

  /** It may be about to be replaced, and is not needed while other roots are known. */
  #rereadRoots(): void {
    try {
      this.#readRoots();
    } catch {
      return;
    }
  }

  /** Whoever replaces the file means it, whatever answers said before. */
  #readRoots(): void {
    const roots = splitCertificates(readFileSync(this.#options.rootsFile, 'utf8')).join('');
    if (roots === this.#fileRoots || roots === '') return;
    this.#fileRoots = roots;
    this.trust(roots);
  }
}

/** Without an answer of the CA itself. Anything else is one. */
const AWAY: ReadonlySet<status> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED]);

/** How gRPC ends its account of a connection that failed. */
const EMPTY_NOTE = / Resolution note: $/;
