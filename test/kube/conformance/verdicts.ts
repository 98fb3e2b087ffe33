/** Reads what the conformance suite prints: which tests passed, and what the parts of those that did not have said. */

export interface Verdict {
  readonly name: string;
  readonly result: 'passed' | 'failed' | 'skipped';
  /** Of a failed test, its parts that failed, each with the end of what it wrote. */
  readonly failures: readonly Failure[];
}

export interface Failure {
  /** Empty for the test itself. */
  readonly part: string;
  readonly said: readonly string[];
}

const LINES_KEPT = 15;
/** What testify prints of a failed assertion, and the suite of what it has waited for in vain. */
const FAILURE = /Error Trace:|timeout while waiting|Error waiting/;

export class VerdictReader {
  /** The last lines of each test and part, by full name. */
  readonly #said = new Map<string, string[]>();
  #current = '';

  /** Take one line; returns the verdict when a test has ended. */
  read(line: string): Verdict | undefined {
    const [, event, test = '', result] = /^=== (\w+) +(\S+)(?: (passed|failed|skipped))?/.exec(line) ?? [];
    if (event === 'END') return this.#verdict(test, result as Verdict['result']);
    if (event === undefined) this.#keep(line);
    else this.#current = test;
    return undefined;
  }

  #verdict(test: string, result: Verdict['result']): Verdict {
    const failures: Failure[] = [];
    for (const [name, said] of this.#said) {
      if (name !== test && !name.startsWith(`${test}/`)) continue;
      this.#said.delete(name);
      if (said.some((line) => FAILURE.test(line))) failures.push({ part: name.slice(test.length + 1), said });
    }
    return { name: test.slice(test.indexOf('/') + 1), result, failures: result === 'failed' ? failures : [] };
  }

  #keep(line: string): void {
    const lines = this.#said.get(this.#current) ?? [];
    lines.push(line.trim());
    if (lines.length > LINES_KEPT) lines.shift();
    this.#said.set(this.#current, lines);
  }
}
