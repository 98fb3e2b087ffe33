/**
 * What differs between two snapshots. Threads do not share memory, and a snapshot of a large cluster takes seconds to copy: so a worker is given
 * one whole, and then what has changed. What stays is the same object before and after, by which what was computed of it is found again.
 */
import { commonEnds } from './common-ends.ts';
import type { Snapshot } from './snapshot.ts';

/** Plain data: it crosses threads. */
export interface SnapshotChange {
  /** The snapshot that it changes. */
  readonly from: number;
  /** Only members that differ. */
  readonly members: Readonly<Record<string, MemberChange>>;
}

/** A new value; of a list, what it is made of; or of a group of lists, what differs in each. */
type MemberChange = { readonly value: unknown } | { readonly parts: readonly ListPart[] } | { readonly members: Readonly<Record<string, MemberChange>> };

/** Elements of the old list, `count` of them from `at`; or new ones. */
type ListPart = { readonly at: number; readonly count: number } | { readonly added: readonly unknown[] };

type Members = Readonly<Record<string, unknown>>;

/** What makes `after` of `before`. Elements of lists are the same when they are the same object, as those of consecutive snapshots of a source are. */
export function changeBetween(before: Snapshot, after: Snapshot): SnapshotChange {
  return { from: before.version, members: membersBetween(before as unknown as Members, after as unknown as Members) };
}

/** The snapshot after a change. Throws when the change is one of another snapshot. */
export function applyChange(before: Snapshot, { from, members }: SnapshotChange): Snapshot {
  if (from !== before.version) throw new Error(`a change of snapshot ${from} cannot be applied to snapshot ${before.version}`);
  return applyMembers(before as unknown as Members, members) as unknown as Snapshot;
}

function membersBetween(before: Members, after: Members): Record<string, MemberChange> {
  const members: Record<string, MemberChange> = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const change = memberBetween(before[key], after[key]);
    if (change !== undefined) members[key] = change;
  }
  return members;
}

function memberBetween(before: unknown, after: unknown): MemberChange | undefined {
  if (before === after) return undefined;
  if (Array.isArray(before) && Array.isArray(after)) {
    const parts = partsOf(before, after);
    return isWhole(parts, before.length) ? undefined : { parts };
  }
  if (isGroup(before) && isGroup(after)) {
    const members = membersBetween(before, after);
    return Object.keys(members).length === 0 ? undefined : { members };
  }
  // Small ones, which are made anew with each snapshot though they seldom differ.
  return JSON.stringify(before) === JSON.stringify(after) ? undefined : { value: after };
}

function applyMembers(before: Members, changes: Readonly<Record<string, MemberChange>>): Members {
  const members: Record<string, unknown> = { ...before };
  for (const [key, change] of Object.entries(changes)) {
    if ('value' in change) members[key] = change.value;
    else if ('parts' in change) members[key] = change.parts.flatMap((part) => ('added' in part ? part.added : (before[key] as readonly unknown[]).slice(part.at, part.at + part.count)));
    else members[key] = applyMembers(before[key] as Members, change.members);
  }
  return members;
}

/** Made of lists only. */
function isGroup(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((member) => Array.isArray(member));
}

function isWhole(parts: readonly ListPart[], length: number): boolean {
  const [part] = parts;
  return length === 0 ? part === undefined : parts.length === 1 && part !== undefined && 'at' in part && part.at === 0 && part.count === length;
}

/** Mostly a few elements differ: both ends are compared first, and only what lies between is searched. */
function partsOf(before: readonly unknown[], after: readonly unknown[]): ListPart[] {
  const { head, tail } = commonEnds(before, after);
  const places = new Map<unknown, number>();
  for (let at = head; at < before.length - tail; at += 1) places.set(before[at], at);
  const parts = new Parts();
  parts.keep(0, head);
  for (let i = head; i < after.length - tail; i += 1) {
    const at = places.get(after[i]);
    if (at === undefined) parts.add(after[i]);
    else parts.keep(at, 1);
  }
  parts.keep(before.length - tail, tail);
  return parts.list;
}

/** Neighbours that are of one sort become one part. */
class Parts {
  readonly list: ListPart[] = [];
  #run: { at: number; count: number } | undefined;
  #added: unknown[] | undefined;

  keep(at: number, count: number): void {
    if (count === 0) return;
    if (this.#run !== undefined && this.#run.at + this.#run.count === at) {
      this.#run.count += count;
      return;
    }
    this.#added = undefined;
    this.#run = { at, count };
    this.list.push(this.#run);
  }

  add(element: unknown): void {
    this.#run = undefined;
    if (this.#added === undefined) {
      this.#added = [];
      this.list.push({ added: this.#added });
    }
    this.#added.push(element);
  }
}
