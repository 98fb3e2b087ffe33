/** The message of a condition, made of problems. */
import type { Problem } from './problem.ts';

/** `metav1.Condition` takes no more than 32 KiB; whoever has made so many mistakes begins with the first. */
const MESSAGE_CHARS_MAX = 2048;
/** The code of the problem that says that an object's former version is the one that counts. */
const LAST_GOOD = 'ORLOP006';

/** Each problem with its field and what to do about it. `end` follows them, and is not cut however many there are. */
export function messageOf(problems: readonly Problem[], end = ''): string {
  const sentences = problems.map(({ field, code, message, remedy }) => `${field === '' ? '' : `${field}: `}${message} → ${remedy} [${code}]`).join('\n');
  return end === '' ? cut(sentences, MESSAGE_CHARS_MAX) : `${cut(sentences, MESSAGE_CHARS_MAX - end.length - 1)}\n${end}`;
}

/** Of a version with faults, given all that is said against the object. */
export function notInForce(problems: readonly Problem[]): string {
  return `this version is not in force; ${inForceInstead(problems)}`;
}

/** What is in force in the place of a version with faults. Neither control plane nor agents know of versions that they have not seen. */
export function inForceInstead(problems: readonly Problem[]): string {
  const kept = problems.find(({ code }) => code === LAST_GOOD);
  return kept === undefined ? 'where an earlier version without this fault is known, that one stays in force' : `${kept.message} on every node that has seen it`;
}

function cut(message: string, charsMax: number): string {
  return message.length > charsMax ? `${message.slice(0, charsMax - 1)}…` : message;
}
