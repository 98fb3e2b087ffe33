/**
 * The agent's end of the CNI plugin's questions (cni/orlop-cni.c): a line of JSON each, answered by a line of JSON, on a socket that root alone may use.
 * What is asked is bounded and looked at strictly, although a runtime asks it: names and addresses in it are those of pods.
 */
import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { CNI_QUESTION_BYTES_MAX, CNI_QUESTIONS_MAX, CNI_WAIT_MS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { record } from '../mesh/parse/json.ts';

/** A pod's network as the runtime has made it, before a process is in it. */
export interface Sandbox {
  /** `namespace/name` of the pod. */
  readonly id: string;
  /** As the kubelet knows the pod (of a static pod, its hash); empty when the runtime does not tell. */
  readonly uid: string;
  readonly containerId: string;
  readonly netnsPath: string;
  /** In the form that sockets show; empty when the network gives none. */
  readonly addresses: readonly string[];
}

export interface CniHandler {
  /**
   * A sandbox was made. Resolves when its pod is served, or takes no part; rejects with why it cannot be, also when `signal` says that the
   * answer is no longer waited for.
   */
  add(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** A sandbox will be gone. */
  remove(sandbox: Pick<Sandbox, 'id' | 'containerId'>): void;
}

interface Question extends Sandbox {
  readonly command: 'ADD' | 'DEL';
  readonly waitMs: number;
}

/** A question is one write of the plugin's. */
const QUESTION_TIMEOUT_MS = 5_000;
const REASON_CHARS_MAX = 500;

export class CniServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #inode: bigint;
  readonly #sockets: ReadonlySet<Socket>;

  private constructor(server: Server, path: string, sockets: ReadonlySet<Socket>) {
    this.#server = server;
    this.#path = path;
    this.#sockets = sockets;
    this.#inode = statSync(path, { bigint: true }).ino;
  }

  /** Listen at `path`, in place of an agent that was there before, also of one that still runs. */
  static async open(path: string, handler: CniHandler, log: Logger): Promise<CniServer> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      attend(socket, handler, log);
    });
    server.maxConnections = CNI_QUESTIONS_MAX;
    // Made under another name: it takes its place in one step, and a server that is closed removes the name that it was made under.
    const made = `${path}.${process.pid}`;
    rmSync(made, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(made, resolve);
    });
    chmodSync(made, 0o600);
    renameSync(made, path);
    return new CniServer(server, path, sockets);
  }

  /** Questions that are not answered yet are asked again of the next agent. */
  close(): void {
    if (statSync(this.#path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode) rmSync(this.#path, { force: true });
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

function attend(socket: Socket, handler: CniHandler, log: Logger): void {
  let text = '';
  let asked = false;
  socket.setEncoding('utf8');
  socket.setTimeout(QUESTION_TIMEOUT_MS, () => socket.destroy());
  // A plugin that is killed meanwhile.
  socket.on('error', () => undefined);
  socket.on('data', (chunk: string) => {
    text += chunk;
    const end = text.indexOf('\n');
    if (asked || (end < 0 && text.length > CNI_QUESTION_BYTES_MAX)) socket.destroy();
    if (asked || end < 0) return;
    asked = true;
    socket.setTimeout(0);
    void answer(socket, text.slice(0, end), handler, log);
  });
}

async function answer(socket: Socket, line: string, handler: CniHandler, log: Logger): Promise<void> {
  const gone = new AbortController();
  socket.once('close', () => gone.abort(new Error('the runtime no longer waits')));
  try {
    const question = readQuestion(line);
    log.debug({ cni: question.command, pod: question.id, container: question.containerId }, 'asked by the CNI plugin');
    if (question.command === 'DEL') handler.remove(question);
    else await handler.add(question, AbortSignal.any([gone.signal, AbortSignal.timeout(question.waitMs)]));
    socket.end(`${JSON.stringify({ result: 'ok' })}\n`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.warn({ question: line.slice(0, REASON_CHARS_MAX), reason }, 'a pod that starts cannot be enrolled; the kubelet tries it again');
    socket.end(`${JSON.stringify({ result: 'error', reason: reason.slice(0, REASON_CHARS_MAX) })}\n`);
  }
}

/** Throws what is wrong with it. */
function readQuestion(line: string): Question {
  const fields = record(JSON.parse(line));
  const field = (name: string, pattern: RegExp): string => {
    const value = fields[name];
    if (typeof value !== 'string' || !pattern.test(value)) throw new Error(`the question has no valid ${name}`);
    return value;
  };
  const command = field('command', /^(?:ADD|DEL)$/) as Question['command'];
  const pod = { id: `${field('namespace', NAME)}/${field('name', NAME)}`, uid: field('uid', /^[\w-]{0,64}$/), containerId: field('containerId', /^[\w.:-]{1,128}$/), command };
  if (command === 'DEL') return { ...pod, netnsPath: '', addresses: [], waitMs: 0 };
  const { addresses, waitMs } = fields;
  if (!Array.isArray(addresses) || !addresses.every((address) => typeof address === 'string' && ipaddr.isValid(address))) throw new Error('the question has no valid addresses');
  if (typeof waitMs !== 'number' || !(waitMs >= 0 && waitMs <= CNI_WAIT_MS_MAX)) throw new Error('the question has no valid waitMs');
  return { ...pod, netnsPath: field('netns', /^\/[^\0]{1,1000}$/), addresses: (addresses as string[]).map((address) => ipaddr.parse(address).toString()), waitMs };
}

/** A DNS subdomain (RFC 1123), as the names of pods and namespaces are. */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
