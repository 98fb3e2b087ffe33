/**
 * Calls a grpc-echo, all on one channel, and prints a JSON line for each call:
 *   node lab/apps/grpc-client.ts HOST:PORT Say|List|Collect|Chat [-n 1] [--text hello] [--status 0] [--delay MS] [--size 0]
 *     [--failures 0] [--padding 0] [--messages 3] [--deadline MS] [--cancel-after ANSWERS]
 * `size` is the padding of the answer, for List the number of answers; `messages` is how many Collect and Chat send.
 */
import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js';
import type { ClientDuplexStream, ClientReadableStream, ClientWritableStream, ServiceError } from '@grpc/grpc-js';
import { parseArgs } from 'node:util';
import { EchoService } from './grpc-service.ts';
import type { Answer, Question } from './grpc-service.ts';

const number = { type: 'string', default: '0' } as const;
const { values: flags, positionals: [address = '', method = 'Say'] } = parseArgs({
  allowPositionals: true,
  options: {
    calls: { type: 'string', short: 'n', default: '1' },
    text: { type: 'string', default: 'hello' },
    status: number, delay: number, size: number, failures: number, padding: number,
    messages: { type: 'string', default: '3' },
    deadline: number,
    'cancel-after': number,
  },
});

/** What became of a call. */
export interface CallReport {
  readonly code: number;
  readonly details: string;
  readonly texts: readonly string[];
  readonly pods: readonly string[];
  readonly received: number;
  /** Bytes of padding in the answers. */
  readonly bytes: number;
}

type Call = ClientReadableStream<Answer> | ClientWritableStream<Question> | ClientDuplexStream<Question, Answer>;

const Client = makeGenericClientConstructor(EchoService, 'Echo');
const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
const methods = client as unknown as Record<string, (...args: unknown[]) => Call>;

const question: Question = {
  text: flags.text, status: Number(flags.status), delayMs: Number(flags.delay), size: Number(flags.size), failures: Number(flags.failures), padding: Buffer.alloc(Number(flags.padding), 'y'),
};

async function call(): Promise<CallReport> {
  const answers: Answer[] = [];
  const error = await new Promise<ServiceError | null>((resolve) => {
    const deadline = Number(flags.deadline);
    const options = deadline > 0 ? { deadline: Date.now() + deadline } : {};
    const done = (failure: ServiceError | null, answer?: Answer): void => {
      if (answer !== undefined) answers.push(answer);
      resolve(failure);
    };
    const args = [...(method === 'Collect' || method === 'Chat' ? [] : [question]), options, ...(method === 'Say' || method === 'Collect' ? [done] : [])];
    const begun = methods[method]?.call(client, ...args) as Call;
    if ('read' in begun) take(begun, answers, resolve);
    if ('write' in begun) give(begun);
  });
  const { code = 0, details = '' } = error ?? {};
  const sum = (of: (answer: Answer) => number): number => answers.reduce((total, answer) => total + of(answer), 0);
  return { code, details, texts: answers.map(({ text }) => text), pods: [...new Set(answers.map(({ pod }) => pod))], received: sum(({ received }) => received), bytes: sum(({ padding }) => padding.length) };
}

function take(stream: ClientReadableStream<Answer>, answers: Answer[], resolve: (error: ServiceError | null) => void): void {
  const enough = Number(flags['cancel-after']);
  stream.on('data', (answer: Answer) => {
    answers.push(answer);
    if (answers.length === enough) stream.cancel();
  });
  stream.on('error', resolve);
  stream.on('end', () => resolve(null));
}

function give(stream: ClientWritableStream<Question> | ClientDuplexStream<Question, Answer>): void {
  for (let message = 1; message <= Number(flags.messages); message += 1) stream.write({ ...question, text: `${question.text} ${message};` });
  stream.end();
}

for (let left = Number(flags.calls); left > 0; left -= 1) process.stdout.write(`${JSON.stringify(await call())}\n`);
client.close();
