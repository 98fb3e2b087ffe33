/** A gRPC server with a method of each kind; it says in its log which calls were cancelled. */
import { Server, ServerCredentials, status as Status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerDuplexStream, ServerReadableStream, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { setTimeout as sleep } from 'node:timers/promises';
import { EchoService } from './grpc-service.ts';
import type { Answer, Question } from './grpc-service.ts';
import { whoAmI } from './identity.ts';

const PORT = Number(process.env['PORT'] ?? 9090);

const failures = new Map<string, number>();

function answerTo({ text, size, padding }: Question): Answer {
  const { pod, version } = whoAmI();
  return { text, pod, version, received: padding.length, padding: Buffer.alloc(size, 'x') };
}

function failsNow({ text, failures: wanted }: Question): boolean {
  const seen = failures.get(text) ?? 0;
  if (seen >= wanted) return false;
  failures.set(text, seen + 1);
  return true;
}

function statusOf({ status }: Question): Status {
  return Status[Status[status] as keyof typeof Status];
}

function watch(call: { on(event: 'cancelled', told: () => void): unknown }, text: string): void {
  call.on('cancelled', () => process.stdout.write(`cancelled ${text}\n`));
}

async function say(call: ServerUnaryCall<Question, Answer>, reply: sendUnaryData<Answer>): Promise<void> {
  const { request } = call;
  watch(call, request.text);
  await sleep(request.delayMs);
  if (failsNow(request)) reply({ code: Status.UNAVAILABLE, details: 'not now' });
  else if (request.status !== 0) reply({ code: statusOf(request), details: `as asked: ${request.text}` });
  else reply(null, answerTo(request));
}

async function list(call: ServerWritableStream<Question, Answer>): Promise<void> {
  const { request } = call;
  watch(call, request.text);
  for (let number = 1; number <= request.size && !call.cancelled; number += 1) {
    call.write(answerTo({ ...request, text: `${request.text} ${number}`, size: 0 }));
    await sleep(request.delayMs);
  }
  if (request.status === 0) call.end();
  else call.emit('error', { code: statusOf(request), details: `as asked: ${request.text}` });
}

function collect(call: ServerReadableStream<Question, Answer>, reply: sendUnaryData<Answer>): void {
  let [received, text] = [0, ''];
  call.on('data', (question: Question) => {
    received += question.padding.length;
    text += question.text;
  });
  call.on('end', () => {
    const { pod, version } = whoAmI();
    reply(null, { text, pod, version, received, padding: Buffer.alloc(0) });
  });
}

function chat(call: ServerDuplexStream<Question, Answer>): void {
  watch(call, 'chat');
  call.on('data', (question: Question) => call.write(answerTo(question)));
  call.on('end', () => call.end());
}

const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
server.addService(EchoService, {
  Say: (call: ServerUnaryCall<Question, Answer>, reply: sendUnaryData<Answer>) => void say(call, reply),
  List: (call: ServerWritableStream<Question, Answer>) => void list(call),
  Collect: collect,
  Chat: chat,
});
server.bindAsync(`[::]:${PORT}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  process.stdout.write(`grpc-echo listens on ${PORT}\n`);
});
