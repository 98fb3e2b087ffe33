/** What `orlop install`, `upgrade` and `uninstall` show: findings, a line for each object, and the progress of pods. */
import { styleText } from 'node:util';
import type { Action, Outcome } from '../install/apply.ts';
import { nameOf } from '../install/manifest.ts';
import type { Finding, Level } from '../install/preflight.ts';

type Colour = Parameters<typeof styleText>[0];

const SYMBOLS: Readonly<Record<Level, readonly [string, Colour]>> = { ok: ['√', 'green'], warning: ['‼', 'yellow'], error: ['×', 'red'] };
const COLOURS: Readonly<Record<Action, Colour>> = { created: 'green', configured: 'yellow', unchanged: 'gray', left: 'gray', refused: 'red', removed: 'yellow' };
const ACTION_CHARS = 11;
/** Of the changes of one object; `kubectl diff -k deploy/` has them all. */
const CHANGES_MAX = 8;

export class InstallScreen {
  readonly #out: NodeJS.WriteStream;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  title(text: string): void {
    this.#write(`${this.#colour('bold', text)}\n`);
  }

  line(text: string): void {
    this.#write(`${text}\n`);
  }

  /** Returns whether all is well enough to go on. */
  findings(findings: readonly Finding[]): boolean {
    for (const { level, text, remedy } of findings) {
      const [symbol, colour] = SYMBOLS[level];
      this.#write(`${this.#colour(colour, symbol)} ${text}\n${remedy === '' ? '' : `    → ${remedy}\n`}`);
    }
    return findings.every(({ level }) => level !== 'error');
  }

  outcome({ object, action, changes, note }: Outcome, showChanges: boolean): void {
    this.#write(`  ${this.#colour(COLOURS[action], action.padEnd(ACTION_CHARS))} ${nameOf(object)}${note === '' ? '' : ` (${note})`}\n`);
    if (!showChanges) return;
    for (const { field, before, after } of changes.slice(0, CHANGES_MAX)) {
      if (before !== undefined) this.#write(`${' '.repeat(ACTION_CHARS + 3)}${this.#colour('red', `- ${field}: ${before}`)}\n`);
      if (after !== undefined) this.#write(`${' '.repeat(ACTION_CHARS + 3)}${this.#colour('green', `+ ${field}: ${after}`)}\n`);
    }
    if (changes.length > CHANGES_MAX) this.#write(`${' '.repeat(ACTION_CHARS + 3)}… and ${changes.length - CHANGES_MAX} more\n`);
  }

  progress(text: string): void {
    this.#write(`  ${this.#colour('gray', text)}\n`);
  }

  #colour(colour: Colour, text: string): string {
    return styleText(colour, text, { stream: this.#out });
  }

  #write(text: string): void {
    this.#out.write(text);
  }
}
