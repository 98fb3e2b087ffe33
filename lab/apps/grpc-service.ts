/** The service of the gRPC samples: one method of each kind. */
import { fromJSON } from '@grpc/proto-loader';
import type { ServiceDefinition } from '@grpc/proto-loader';

export interface Question {
  readonly text: string;
  /** Answer with this status; 0 for an ordinary answer. */
  readonly status: number;
  readonly delayMs: number;
  /** Bytes of padding in the answer, or how many answers a stream has. */
  readonly size: number;
  /** How many of the calls with this text fail with UNAVAILABLE before one is answered, in each server. */
  readonly failures: number;
  readonly padding: Uint8Array;
}

export interface Answer {
  readonly text: string;
  readonly pod: string;
  readonly version: string;
  /** Bytes of padding that came with the question, or with all of a stream's. */
  readonly received: number;
  readonly padding: Uint8Array;
}

const question = {
  fields: {
    text: { type: 'string', id: 1 },
    status: { type: 'int32', id: 2 },
    delayMs: { type: 'int32', id: 3 },
    size: { type: 'int32', id: 4 },
    failures: { type: 'int32', id: 5 },
    padding: { type: 'bytes', id: 6 },
  },
};
const answer = {
  fields: {
    text: { type: 'string', id: 1 },
    pod: { type: 'string', id: 2 },
    version: { type: 'string', id: 3 },
    received: { type: 'int32', id: 4 },
    padding: { type: 'bytes', id: 5 },
  },
};
const types = { requestType: 'Question', responseType: 'Answer' };
const methods = {
  Say: types,
  List: { ...types, responseStream: true },
  Collect: { ...types, requestStream: true },
  Chat: { ...types, requestStream: true, responseStream: true },
};

const packages = { nested: { lab: { nested: { Question: question, Answer: answer, Echo: { methods } } } } };

export const EchoService = fromJSON(packages as Parameters<typeof fromJSON>[0], { defaults: true })['lab.Echo'] as ServiceDefinition;
