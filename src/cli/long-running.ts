/** Commands that run until they are ended. */

/** sysexits.h: the command line is wrong; something that is needed is not there. */
export const EX_USAGE = 64;
export const EX_UNAVAILABLE = 69;

/** One line, and the end. */
export function fail(program: string, code: number, message: string): void {
  process.stderr.write(`orlop ${program}: ${message}\n`);
  process.exit(code);
}

/** Start, and stop at the first SIGTERM or SIGINT. What cannot be started is told in one line. */
export async function runUntilEnded(program: string, start: () => Promise<{ stop(): Promise<void> }>): Promise<void> {
  let running: { stop(): Promise<void> };
  try {
    running = await start();
  } catch (error) {
    fail(program, EX_UNAVAILABLE, error instanceof Error ? error.message : String(error));
    return;
  }
  let asked = 0;
  const end = (): void => {
    asked += 1;
    // A second signal means now.
    if (asked > 1) process.exit(1);
    void running.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}
