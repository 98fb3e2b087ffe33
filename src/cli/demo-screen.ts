/** What the demo draws: titles, bars, verdicts. Colour only where the terminal has it. */

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #colour: boolean;
  readonly #startedMs = performance.now();

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.#colour = out.isTTY && process.env['NO_COLOR'] === undefined;
  }

  title(text: string): void {
    this.#write(`\n${this.#style('1', text)}\n\n`);
  }

  step(text: string): void {
    this.#write(`\n${this.#style('1;36', text)}\n`);
  }

  line(text: string): void {
    this.#write(`  ${text}\n`);
  }

  quiet(text: string): void {
    this.#write(`  ${this.#style('2', text)}\n`);
  }

  verdict(ok: boolean, text: string): void {
    this.#write(`  ${ok ? this.#style('32', '√') : this.#style('31', '×')} ${text}\n`);
  }

  summary(steps: number, failed: number): void {
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1);
    const text = failed === 0 ? `${steps} of ${steps} steps did what the YAML says` : `${failed} of ${steps} steps did not do what the YAML says`;
    this.#write(`\n${this.#style(failed === 0 ? '1;32' : '1;31', text)} (${seconds} s)\n`);
  }

  lookAround(lab: string): void {
    this.title('It is still running. Look around:');
    for (const [command, what] of [
      [`orlop lab ps --name ${lab}`, 'pods, nodes, agents'],
      [`orlop lab exec --name ${lab} client -- curl -s http://reviews:9080/reviews/0`, 'a request through the mesh'],
      [`orlop lab apply --name ${lab} -n bookinfo FILE`, 'put Istio YAML in force'],
      [`orlop lab logs --name ${lab} agent/node1`, 'the agent\'s log'],
      [`orlop lab down --name ${lab}`, 'end it'],
    ] as const) {
      this.line(`npx ${command}`);
      this.quiet(`    ${what}`);
    }
  }

  #style(code: string, text: string): string {
    return this.#colour ? `\u001B[${code}m${text}\u001B[0m` : text;
  }

  #write(text: string): void {
    this.#out.write(text);
  }
}

const BAR_CHARS = 40;

/** `v1  ██████████  300` for each key, in order of the keys. */
export function bars(counts: Readonly<Record<string, number>>, total: number): string[] {
  const width = Math.max(3, ...Object.keys(counts).map((key) => key.length));
  return Object.entries(counts).map(([key, count]) => {
    const bar = '█'.repeat(Math.max(count > 0 ? 1 : 0, Math.round((BAR_CHARS * count) / total)));
    return `${key.padEnd(width)} ${bar.padEnd(BAR_CHARS)} ${String(count).padStart(5)}`;
  });
}
