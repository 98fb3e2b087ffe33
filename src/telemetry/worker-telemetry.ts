/** What one worker counts and logs. The main thread asks for the counts when somebody scrapes. */
import type { Writable } from 'node:stream';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { DEFAULT_TEXT_FORMAT, jsonFormat, textFormat, unknownOperators } from './access-log.ts';
import type { LineFormat } from './access-log.ts';
import { observe } from './cells.ts';
import type { EdgeData } from './cells.ts';
import { WorkloadDirectory } from './directory.ts';
import { Edges } from './edges.ts';
import { LogWriter } from './log-writer.ts';
import type { ExchangeFacts, Telemetry } from './telemetry.ts';

export type AccessLogMode = 'off' | 'text' | 'json';

/** The counts of one worker, as they cross threads. */
export interface WorkerCounts {
  readonly edges: readonly EdgeData[];
  /** Local replies by error code. */
  readonly localReplies: Readonly<Record<string, number>>;
  readonly droppedLogLines: number;
}

const EXPIRY_MS = 60_000;

export class WorkerTelemetry implements Telemetry {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #edges = new Edges();
  readonly #writer: LogWriter;
  readonly #localReplies = new Map<string, number>();
  #format: LineFormat | undefined;

  constructor(clock: Clock, log: Logger, out: Writable = process.stdout) {
    this.#clock = clock;
    this.#log = log;
    this.#writer = new LogWriter(clock, out);
    this.#expireLater();
  }

  /** Take labels and log settings from a snapshot; `override` is the agent's own flag. */
  use(snapshot: Snapshot, override: AccessLogMode | undefined): void {
    this.#edges.use(new WorkloadDirectory(snapshot));
    const { accessLogFile, accessLogEncoding, accessLogFormat } = snapshot.mesh;
    const mode = override ?? (accessLogFile === '' ? 'off' : accessLogEncoding === 'JSON' ? 'json' : 'text');
    const format = accessLogFormat || DEFAULT_TEXT_FORMAT;
    if (mode === 'text') for (const operator of unknownOperators(format)) this.#log.warn({ operator }, 'MeshConfig.accessLogFormat: this operator is not known, and is logged as it was written');
    this.#format = mode === 'off' ? undefined : mode === 'json' ? jsonFormat() : textFormat(format);
  }

  exchangeEnded(facts: ExchangeFacts, durationMs: number): void {
    const cell = this.#edges.find(facts, this.#clock.nowMs()).httpCell(facts.status, facts.grpcStatus, facts.flags);
    cell.requests += 1;
    observe(cell.durationMs, durationMs);
    observe(cell.requestBytes, facts.requestBytes);
    observe(cell.responseBytes, facts.responseBytes);
    if (facts.error !== undefined) this.#countReply(facts.error.code);
    if (this.#format !== undefined) this.#writeLine(facts, durationMs);
  }

  tcpOpened(facts: ExchangeFacts): void {
    this.#edges.find(facts, this.#clock.nowMs()).tcpCell(facts.flags).opened += 1;
  }

  tcpBytes(facts: ExchangeFacts, received: number, sent: number): void {
    const cell = this.#edges.find(facts, this.#clock.nowMs()).tcpCell(facts.flags);
    cell.received += received;
    cell.sent += sent;
  }

  tcpClosed(facts: ExchangeFacts, durationMs: number): void {
    this.#edges.find(facts, this.#clock.nowMs()).tcpCell(facts.flags).closed += 1;
    if (facts.error !== undefined) this.#countReply(facts.error.code);
    if (this.#format !== undefined) this.#writeLine(facts, durationMs);
  }

  collect(): WorkerCounts {
    const edges = this.#edges.all.map(({ labels, http, tcp }) => ({ labels, http, tcp }));
    return { edges, localReplies: Object.fromEntries(this.#localReplies), droppedLogLines: this.#writer.dropped };
  }

  /** Write out what is gathered. */
  flush(): void {
    this.#writer.flush();
  }

  #countReply(code: string): void {
    this.#localReplies.set(code, (this.#localReplies.get(code) ?? 0) + 1);
  }

  #writeLine(facts: ExchangeFacts, durationMs: number): void {
    const startedWallMs = this.#clock.wallMs() - durationMs;
    this.#writer.write((this.#format as LineFormat)({ facts, durationMs, startedWallMs }));
  }

  #expireLater(): void {
    this.#clock.coarse(EXPIRY_MS, () => {
      this.#edges.expire(this.#clock.nowMs());
      this.#expireLater();
    });
  }
}
