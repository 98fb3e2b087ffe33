/**
 * What the pods of a node are told about themselves: an annotation that says how things are, and an event when that changes. Nothing waits for
 * it. While the API server is away only the last word for each pod is kept, and written when it is back.
 */
import { pause } from '../core/clock.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { POD_EVENT_CHARS_MAX, POD_EVENTS_WAITING_MAX, POD_STATUS_WRITES_BURST, POD_STATUS_WRITES_PER_SECOND } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import { Rate } from '../core/rate.ts';
import { record, text } from '../mesh/parse/json.ts';
import { ApiError } from './api-client.ts';
import type { ApiClient, ApiObject } from './api-client.ts';
import { Backoff } from './backoff.ts';

export const STATUS_ANNOTATION = 'orlop.io/status';

export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  /** One word: `Enrolled`. */
  readonly reason: string;
  readonly message: string;
}

/** What a pod is to be told. */
export interface PodStatus {
  readonly uid: string;
  /** Undefined: it has none. */
  readonly annotation: string | undefined;
  /** What has happened, by what the annotation said before it is changed to this. */
  readonly eventAfter: (before: string | undefined) => PodEvent | undefined;
}

export interface PodStatusOptions {
  /** Closed with the writer. */
  readonly client: ApiClient;
  readonly node: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** What a pod's annotation says, as far as is known. */
interface Told {
  readonly uid: string;
  readonly annotation: string | undefined;
  /** A pod that comes and goes is not written each time. */
  readonly notBeforeMs: number;
}

interface WaitingEvent {
  readonly pod: string;
  readonly uid: string;
  readonly event: PodEvent;
  readonly wallMs: number;
}

const WRITE_SPACING_MS = 5_000;
/** How often annotations are read back: others may have changed them, or written them on pods of their own. */
const READ_EVERY_MS = 600_000;
const BACKOFF = { firstMs: 500, mostMs: 30_000 };
const CHUNK_PODS = 500;
const METADATA_LIST = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';
/** A name has 253 characters at most. */
const EVENT_POD_NAME_CHARS_MAX = 200;
/** Answers after which the same request may do better. */
const PASSING = new Set([401, 408, 429]);

export class PodStatusWriter {
  readonly #options: PodStatusOptions;
  readonly #backoff: Backoff;
  readonly #rate: Rate;
  /** The agent ends: what is left is written at once or not at all. */
  readonly #ending = new AbortController();
  readonly #closing = new AbortController();
  /** By pod, `namespace/name`. */
  #wanted: ReadonlyMap<string, PodStatus> = new Map();
  readonly #told = new Map<string, Told>();
  #events: WaitingEvent[] = [];
  #readMs = -Infinity;
  #running: Promise<void> | undefined;
  #wake: Timer | undefined;
  #eventNumber = 0;
  #failing = false;
  readonly #refusals = new Set<string>();

  constructor(options: PodStatusOptions) {
    this.#options = options;
    this.#backoff = new Backoff(BACKOFF, options.random);
    this.#rate = new Rate(options.clock, { perSecond: POD_STATUS_WRITES_PER_SECOND, burst: POD_STATUS_WRITES_BURST });
  }

  /** What all pods of the node are to be told from now on; one that is missing is gone. */
  set(statuses: ReadonlyMap<string, PodStatus>): void {
    if (this.#ending.signal.aborted) return;
    this.#wanted = statuses;
    for (const [pod, { uid }] of this.#told) if (statuses.get(pod)?.uid !== uid) this.#told.delete(pod);
    this.#start();
  }

  /** Write what is still to be written, within this time and if the API server is there; then no more. */
  async close(withinMs: number): Promise<void> {
    this.#ending.abort();
    const { clock, client } = this.#options;
    const deadline = clock.after(withinMs, () => this.#closing.abort());
    await this.#running;
    this.#start();
    await this.#running;
    deadline.cancel();
    this.#closing.abort();
    client.close();
  }

  #start(): void {
    if (this.#running !== undefined || this.#closing.signal.aborted) return;
    this.#wake?.cancel();
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** One request after the other, until there is nothing left to write now. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const step = this.#next();
      if (step === undefined) return;
      try {
        await this.#pace();
        await step();
        this.#succeeded();
      } catch (error) {
        if (signal.aborted || this.#ending.signal.aborted) return;
        this.#failed(error);
        await this.#pause(Math.max(this.#backoff.nextMs(), error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0));
      }
    }
  }

  /** Annotations before events: they tell how things are, and the others only how they came to be so. */
  #next(): (() => Promise<void>) | undefined {
    const nowMs = this.#options.clock.nowMs();
    if (this.#wanted.size > 0 && nowMs - this.#readMs > READ_EVERY_MS) return async () => this.#read();
    let earliestMs = Infinity;
    for (const [pod, status] of this.#wanted) {
      const told = this.#told.get(pod);
      if (told?.annotation === status.annotation) continue;
      const { notBeforeMs = -Infinity } = told ?? {};
      if (notBeforeMs <= nowMs || this.#ending.signal.aborted) return async () => this.#write(pod, status, told?.annotation);
      earliestMs = Math.min(earliestMs, notBeforeMs);
    }
    const [event] = this.#events;
    if (event !== undefined) return async () => this.#post(event);
    if (earliestMs < Infinity) this.#wake = this.#options.clock.after(earliestMs - nowMs, () => this.#start());
    return undefined;
  }

  /** What the pods of this node are told already, by an earlier agent or by somebody else. */
  async #read(): Promise<void> {
    const { client, node, clock } = this.#options;
    const { signal } = this.#closing;
    let token: string | undefined;
    do {
      // At first any version that the server has at hand will do; later, none before what this writer itself has written.
      const query = { fieldSelector: `spec.nodeName=${node}`, limit: CHUNK_PODS, continue: token, resourceVersion: token === undefined && this.#readMs === -Infinity ? '0' : undefined };
      const list = await client.send('/api/v1/pods', { query, accept: METADATA_LIST, signal });
      for (const { metadata } of (list['items'] ?? []) as ApiObject[]) this.#note(record(metadata));
      token = text(record(list['metadata'])['continue']) || undefined;
    } while (token !== undefined);
    this.#readMs = clock.nowMs();
  }

  #note({ name, namespace, uid, annotations }: ApiObject): void {
    const pod = `${text(namespace)}/${text(name)}`;
    const said = record(annotations)[STATUS_ANNOTATION];
    this.#told.set(pod, { uid: text(uid), annotation: said === undefined ? undefined : text(said), notBeforeMs: this.#told.get(pod)?.notBeforeMs ?? -Infinity });
  }

  async #write(pod: string, { uid, annotation, eventAfter }: PodStatus, before: string | undefined): Promise<void> {
    const { client, clock } = this.#options;
    const [namespace = '', name = ''] = pod.split('/');
    // With the UID the server refuses to change another pod of the same name. `pods/status` can change metadata too, and no more than that.
    const body = { metadata: { uid, annotations: { [STATUS_ANNOTATION]: annotation ?? null } } };
    const done = await this.#unlessRefused(client.send(`/api/v1/namespaces/${namespace}/pods/${name}/status`, { method: 'PATCH', body, signal: this.#closing.signal }));
    this.#told.set(pod, { uid, annotation, notBeforeMs: clock.nowMs() + WRITE_SPACING_MS });
    const event = done ? eventAfter(before) : undefined;
    if (event === undefined) return;
    this.#events.push({ pod, uid, event, wallMs: clock.wallMs() });
    this.#events = this.#events.slice(-POD_EVENTS_WAITING_MAX);
  }

  async #post(waiting: WaitingEvent): Promise<void> {
    const { client } = this.#options;
    const body = this.#eventOf(waiting);
    await this.#unlessRefused(client.send(`/api/v1/namespaces/${waiting.pod.split('/')[0] ?? ''}/events`, { method: 'POST', body, signal: this.#closing.signal }));
    this.#events = this.#events.filter((one) => one !== waiting);
  }

  /** core/v1 Event. */
  #eventOf({ pod, uid, event: { type, reason, message }, wallMs }: WaitingEvent): ApiObject {
    const { node } = this.#options;
    const [namespace, name = ''] = pod.split('/');
    const at = new Date(wallMs).toISOString();
    this.#eventNumber += 1;
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { namespace, name: `${name.slice(0, EVENT_POD_NAME_CHARS_MAX).replace(/[.-]+$/, '')}.${uid.slice(0, 8)}${wallMs.toString(16)}${this.#eventNumber.toString(16)}` },
      involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
      type,
      reason,
      message: message.slice(0, POD_EVENT_CHARS_MAX),
      source: { component: 'orlop-agent', host: node },
      reportingComponent: 'orlop.io/agent',
      reportingInstance: node,
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    };
  }

  /** False: the server will not have it, now or later, as when the pod has gone. Rejects when it may be tried again. */
  async #unlessRefused(answer: Promise<ApiObject>): Promise<boolean> {
    try {
      await answer;
      return true;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status >= 500 || PASSING.has(error.status)) throw error;
      // 422: the pod has another UID.
      const isGone = error.status === 404 || (error.status === 422 && error.message.includes('metadata.uid'));
      if (!isGone && !this.#refusals.has(error.reason)) this.#options.log.warn({ status: error.status, reason: error.message }, 'the API server refuses the status of a pod; it is not written');
      if (!isGone) this.#refusals.add(error.reason);
      return false;
    }
  }

  #failed(error: unknown): void {
    if (!this.#failing) this.#options.log.warn({ reason: error instanceof Error ? error.message : String(error) }, 'statuses of pods cannot be written; tried again, and nothing waits for them');
    this.#failing = true;
  }

  #succeeded(): void {
    this.#backoff.reset();
    if (this.#failing) this.#options.log.info('statuses of pods are written again');
    this.#failing = false;
  }

  async #pace(): Promise<void> {
    while (!this.#ending.signal.aborted && !this.#rate.take()) await this.#pause(this.#rate.waitMs);
  }

  /** Cut short when the agent ends. */
  async #pause(delayMs: number): Promise<void> {
    await pause(this.#options.clock, delayMs, this.#ending.signal);
  }
}
