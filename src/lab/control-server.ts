/** The supervisor's control socket: HTTP over a unix socket that only root can open. */
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { LabError } from './lab-error.ts';
import { AGENT_ACTIONS, PROCESS_ACTIONS } from './status.ts';
import type { Progress } from './status.ts';
import type { Supervisor } from './supervisor.ts';

export interface ControlOptions {
  path: string;
  supervisor: Supervisor;
  /** Called once when a client asks for the end, or when the last follower of a tied lab has gone. */
  onDown(): void;
  /** End when nobody follows any more. */
  tied: boolean;
}

export class ControlServer {
  readonly #options: ControlOptions;
  readonly #server: Server;
  readonly #history: Progress[] = [];
  readonly #followers = new Set<ServerResponse>();
  #followed = false;

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      void this.#handle(request, response);
    });
  }

  static async start(options: ControlOptions): Promise<ControlServer> {
    const control = new ControlServer(options);
    control.#server.listen(options.path);
    await once(control.#server, 'listening');
    chmodSync(options.path, 0o600);
    return control;
  }

  /** Did anybody ever follow? */
  get followed(): boolean {
    return this.#followed;
  }

  /** Tell everyone who follows, and whoever comes later. */
  report(progress: Progress): void {
    this.#history.push(progress);
    for (const follower of this.#followers) follower.write(`${JSON.stringify(progress)}\n`);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'http://lab');
      if (url.pathname === '/progress') {
        this.#follow(response);
        return;
      }
      const body = await this.#answer(url, request);
      response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    } catch (error) {
      const message = error instanceof LabError ? error.message : error instanceof Error ? error.stack ?? error.message : String(error);
      response.writeHead(error instanceof LabError ? 400 : 500, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));
    }
  }

  async #answer(url: URL, request: IncomingMessage): Promise<unknown> {
    const { supervisor } = this.#options;
    const namespace = url.searchParams.get('namespace');
    const options = { file: url.searchParams.get('file') ?? 'the input', ...(namespace !== null && { namespace }) };
    switch (url.pathname) {
      case '/status': return supervisor.status();
      case '/apply': return supervisor.apply(await text(request), options);
      case '/delete': return supervisor.remove(await text(request), options);
      case '/agent':
        await supervisor.actOnAgent(url.searchParams.get('node') ?? '', actionOf(url, AGENT_ACTIONS));
        return {};
      case '/control':
        await supervisor.actOnControl(actionOf(url, PROCESS_ACTIONS));
        return {};
      case '/down':
        this.#options.onDown();
        return { pid: process.pid };
      default: throw new LabError(`the supervisor knows no ${url.pathname}; are both of the same version?`);
    }
  }

  #follow(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.flushHeaders();
    for (const progress of this.#history) response.write(`${JSON.stringify(progress)}\n`);
    this.#followers.add(response);
    this.#followed = true;
    response.on('close', () => {
      this.#followers.delete(response);
      if (this.#options.tied && this.#followers.size === 0) this.#options.onDown();
    });
  }
}

function actionOf<T extends string>(url: URL, actions: readonly T[]): T {
  const asked = url.searchParams.get('action') ?? '';
  const action = actions.find((one) => one === asked);
  if (action === undefined) throw new LabError(`"${asked}" is not something it can be told; use ${actions.join(', ')}`);
  return action;
}
