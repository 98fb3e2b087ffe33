/** The problems of a configuration in the log: each once, until it has gone. */
import type { Logger } from '../core/log.ts';
import { renderProblem } from '../mesh/problem.ts';
import type { Problem } from '../mesh/problem.ts';

export class ProblemLog {
  readonly #log: Logger;
  #told = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  tell(problems: readonly Problem[]): void {
    const now = new Set<string>();
    for (const problem of problems) {
      const line = renderProblem(problem);
      now.add(line);
      if (this.#told.has(line)) continue;
      if (problem.severity === 'error') this.#log.error(line);
      else if (problem.severity === 'warning') this.#log.warn(line);
      else this.#log.info(line);
    }
    this.#told = now;
  }
}
