/** What the two variants of a subscription to secrets have in common: checks of what a client sent, and complaints about it. */
import { status } from '@grpc/grpc-js';
import { SDS_NAME_CHARS_MAX, SDS_NAMES_MAX } from '../../core/limits.ts';
import type { Caller, Failure } from '../workload-api/caller.ts';
import { SECRET_TYPE_URL } from './protocol.ts';
import type { ErrorDetail } from './protocol.ts';
import type { Secrets } from './secrets.ts';

/** Characters of a client's own words that go into our log. */
const QUOTE_CHARS_MAX = 300;

/** Why a request cannot be taken; undefined when it can. The type may be left out: this service has one only. */
export function refusal(typeUrl: string, names: readonly string[]): Failure | undefined {
  if (typeUrl !== '' && typeUrl !== SECRET_TYPE_URL) {
    return { code: status.INVALID_ARGUMENT, details: `type_url is "${quote(typeUrl)}"; this service has ${SECRET_TYPE_URL} only` };
  }
  if (names.length > SDS_NAMES_MAX) return { code: status.RESOURCE_EXHAUSTED, details: `${names.length} names; ${SDS_NAMES_MAX} are the most` };
  if (names.some((name) => name.length > SDS_NAME_CHARS_MAX)) {
    return { code: status.INVALID_ARGUMENT, details: `a name is longer than ${SDS_NAME_CHARS_MAX} characters` };
  }
  return undefined;
}

/** A client rejected what it was sent. It keeps what it had; it is sent something again when there is something new. */
export function noteRejection(caller: Caller, version: string, { code, message }: ErrorDetail): void {
  caller.notices.once(`rejected ${version}`, () => {
    caller.log.warn({ pod: caller.podId, identity: caller.identity, version, code, reason: quote(message) }, 'SDS client rejected its secrets, and keeps those it had');
  });
}

/** A client asked for what is not its own. */
export function noteUnknown(caller: Caller, secrets: Secrets, names: Iterable<string>): void {
  for (const name of names) {
    if (secrets.has(name)) continue;
    caller.notices.once(`unknown ${name}`, () => {
      caller.log.warn({ pod: caller.podId, identity: caller.identity, secret: quote(name) }, 'SDS client asked for a secret that is not there for it');
    });
  }
}

function quote(text: string): string {
  return text.length <= QUOTE_CHARS_MAX ? text : `${text.slice(0, QUOTE_CHARS_MAX)}…`;
}
