/** What passes in a network namespace, as tcpdump sees it. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCommand } from '../../src/lab/command.ts';

/** When nothing was written for so long, all that has passed is written. */
const SETTLE_MS = 500;
/** Each packet takes a slot of this size in the kernel's buffer, which must not run out of them. */
const SNAP_BYTES = 65_535;
const BUFFER_KIB = 32_768;

export interface Segment {
  /** `address.port` as tcpdump writes it. */
  readonly from: string;
  readonly to: string;
}

export class PacketCapture implements Disposable {
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
  }

  /** Capture what `filter` lets through on every device of the namespace; resolves when it has begun. */
  static async start(netnsPath: string, filter = 'tcp'): Promise<PacketCapture> {
    const directory = mkdtempSync(join(tmpdir(), 'orlop-capture-'));
    const argv = [`--net=${netnsPath}`, 'tcpdump', '-i', 'any', '-s', String(SNAP_BYTES), '-B', String(BUFFER_KIB), '-U', '--immediate-mode', '-Z', 'root', '-w', join(directory, 'pcap'), filter];
    const child = spawn('nsenter', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    const said = createInterface({ input: child.stderr });
    for await (const line of said) if (line.includes('listening on')) return new PacketCapture(child, directory);
    throw new Error(`tcpdump did not start in ${netnsPath}; is it installed?`);
  }

  /** End the capture, once everything that has passed is written. */
  async stop(): Promise<void> {
    let written = -1;
    while (written !== this.bytes.length) {
      written = this.bytes.length;
      await sleep(SETTLE_MS);
    }
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGINT');
    await once(this.#child, 'exit');
  }

  /** Everything that passed, byte by byte. */
  get bytes(): Buffer {
    return readFileSync(join(this.#directory, 'pcap'));
  }

  async segments(): Promise<Segment[]> {
    const { stdout } = await runCommand('tcpdump', ['-nn', '-q', '-r', join(this.#directory, 'pcap'), 'tcp']);
    return stdout.split('\n').flatMap((line) => {
      const found = / IP6? (\S+) > (\S+): /.exec(line);
      return found === null ? [] : [{ from: found[1] as string, to: found[2] as string }];
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
