/**
 * The validating webhook: HTTPS, `POST /validate`. API servers are not known by any certificate of theirs, so whoever reaches the port may ask; what is
 * asked is only computed, never stored, and bounded.
 */
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostPort } from '../core/address.ts';
import { ADMISSION_BYTES_UNDER_WAY_MAX, ADMISSION_CONNECTIONS_MAX, ADMISSION_REQUEST_BYTES_MAX, ADMISSION_REQUEST_MS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { ApiObject } from '../kube/api-client.ts';
import type { Admission } from '../mesh/admission.ts';
import { answerTo, BadReview, readReview } from './admission-review.ts';
import type { Listen } from './ca-server.ts';
import type { ServerCertificate } from './server-certificate.ts';

export interface WebhookOptions {
  /** What is said of an object in the place of a stored one. */
  readonly judge: (object: ApiObject, stored: ApiObject | undefined) => Admission;
  readonly certificate: ServerCertificate;
  readonly log: Logger;
}

/** How reviews ended, as the metrics have it. */
export type ReviewOutcome = 'allowed' | 'refused' | 'failed';

/** A request that gets no review. */
class Unanswered extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class Webhook {
  readonly counts: Record<ReviewOutcome, number> = { allowed: 0, refused: 0, failed: 0 };
  readonly #options: WebhookOptions;
  readonly #server: ReturnType<typeof createServer>;
  #bytesUnderWay = 0;

  private constructor(options: WebhookOptions) {
    this.#options = options;
    this.#server = createServer({ minVersion: 'TLSv1.2', requestTimeout: ADMISSION_REQUEST_MS_MAX, headersTimeout: ADMISSION_REQUEST_MS_MAX, connectionsCheckingInterval: 1_000 }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = ADMISSION_CONNECTIONS_MAX;
    options.certificate.addIdentityCertificateListener((current) => {
      if (current !== null) this.#server.setSecureContext({ minVersion: 'TLSv1.2', cert: current.certificate, key: current.privateKey });
    });
  }

  /** Listen. Rejects with a sentence when the address cannot be listened on. */
  static async serve(options: WebhookOptions, { address, port }: Listen): Promise<Webhook> {
    const webhook = new Webhook(options);
    await new Promise<void>((resolve, reject) => {
      webhook.#server.once('error', (error) => reject(new Error(`cannot listen on ${hostPort(address, port)}: ${error.message}; choose another port with --webhook-port`)));
      webhook.#server.listen(port, address, resolve);
    });
    return webhook;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Reviews that are under way are answered. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeIdleConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const answer = this.#review(await this.#read(request));
      reply(response, 200, 'application/json', JSON.stringify(answer));
    } catch (error) {
      this.counts.failed += 1;
      const status = error instanceof Unanswered ? error.status : error instanceof BadReview ? 400 : 500;
      const message = error instanceof Error ? error.message : String(error);
      if (status === 500) this.#options.log.error({ error: message }, 'an object could not be judged; the API server stores it unjudged');
      // What is left of the body is not waited for.
      response.setHeader('connection', 'close');
      reply(response, status, 'text/plain; charset=utf-8', `${message}\n`);
    }
  }

  #review(body: string): ApiObject {
    const review = readReview(body);
    const admission = this.#options.judge(review.object, review.stored);
    this.counts[admission.refusals.length === 0 ? 'allowed' : 'refused'] += 1;
    return answerTo(review, admission);
  }

  async #read(request: IncomingMessage): Promise<string> {
    const path = (request.url ?? '').split('?')[0];
    if (path !== '/validate') throw new Unanswered(404, 'there is only /validate');
    if (request.method !== 'POST') throw new Unanswered(405, 'reviews are asked for with POST');
    if (!/^application\/json *(?:;|$)/i.test(request.headers['content-type'] ?? '')) throw new Unanswered(415, 'a review is application/json');
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      // Whoever asks too much is told so, on the same connection.
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        this.#bytesUnderWay += chunk.length;
        if (bytes > ADMISSION_REQUEST_BYTES_MAX) throw new Unanswered(413, `a review has ${ADMISSION_REQUEST_BYTES_MAX} bytes at most`);
        if (this.#bytesUnderWay > ADMISSION_BYTES_UNDER_WAY_MAX) throw new Unanswered(503, 'too much is asked at once');
        chunks.push(chunk);
      }
      return Buffer.concat(chunks).toString();
    } finally {
      this.#bytesUnderWay -= bytes;
    }
  }
}

function reply(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
