/** What an authorizer is asked about: a request with as much of its body as it is to see, or an opaque connection. */
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { CheckOutcome } from './outcome.ts';

export interface CheckSubject {
  readonly exchange: Exchange;
  /** Undefined: an opaque connection. */
  readonly head: RequestHead | undefined;
  /** Undefined: the authorizer is not shown any, or there is none. */
  readonly body: Buffer | undefined;
  /** There is more of the body. */
  readonly partial: boolean;
}

/** Asks one provider. */
export interface Checker {
  /** `done` is called once; never after the returned function, which gives the question up and is not called after `done`. */
  check(subject: CheckSubject, done: (outcome: CheckOutcome) => void): () => void;
}

/** Tells the authorizer whether the body it sees is all of it; a client's own header of that name is not passed on. */
export const PARTIAL_BODY = 'x-envoy-auth-partial-body';
