/** Who may call whom, in a mesh of two nodes: by identity, on connections that are open already, for HTTP and for TCP; and the commands that explain it. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate } from '../../src/lab/mesh-view.ts';
import { applied, echo, identityOf, mesh, NAMESPACE, pod, service, STRICT } from './mesh.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

let lab: Lab;

beforeAll(async () => {
  const tcp = { command: ['node', 'lab/apps/tcp-echo.ts'], ports: [{ name: 'tcp-echo', port: 9000 }] };
  const topology = [
    mesh('policies'),
    pod('web', { node: 'node1' }),
    pod('batch', { node: 'node1' }),
    ...['near', 'far'].map((name, i) => echo(name, { node: `node${i + 1}` })),
    ...['near', 'far'].flatMap((name, i) => [pod(`tcp-${name}`, { ...tcp, node: `node${i + 1}` }), service(`tcp-${name}`, [{ name: 'tcp-echo', port: 9000 }])]),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'policies topology', text: topology }] });
  await applied(lab, STRICT);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

function policy(name: string, action: string, rules: string): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: ${NAMESPACE}}\nspec: {action: ${action}, rules: ${rules}}\n`;
}

async function ask(server: string, { from = 'web', method = 'GET', path = '/' } = {}): Promise<string> {
  const { stdout } = await lab.exec(from, ['curl', '-s', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', '--path-as-is', '-X', method, `http://${server}:8080${path}`]);
  return stdout;
}

/** Applies policies for the length of `during`. */
async function under(policies: readonly string[], during: () => Promise<void>): Promise<void> {
  const yaml = policies.join('---\n');
  await applied(lab, yaml);
  try {
    await during();
  } finally {
    await lab.delete(yaml);
    await agentsUpToDate(lab);
  }
}

/** A program in a pod that says a line, and waits to be told to go on. */
class Held {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static async start(from: string, script: string): Promise<Held> {
    const [command = '', ...args] = await lab.execArgv(from, ['node', '-e', script]);
    return new Held(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
  }

  /** The next line; empty at the end. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    return done === true ? '' : value;
  }

  async rest(): Promise<string[]> {
    const lines: string[] = [];
    for (let line = await this.line(); line !== ''; line = await this.line()) lines.push(line);
    return lines;
  }

  goOn(): void {
    this.#child.stdin.write('\n');
  }

  stop(): void {
    this.#child.kill();
  }
}

describe.each(['near', 'far'])('a server that is %s', (server) => {
  it('answers those it is told to, and 403 to others', async () => {
    const rule = `[{from: [{source: {principals: ["${identityOf('web').slice('spiffe://'.length)}"]}}], to: [{operation: {methods: [GET], paths: ["/public*"]}}]}]`;
    await under([policy('p0', 'ALLOW', rule)], async () => {
      expect(await ask(server, { path: '/public' })).toBe('200');
      expect(await ask(server, { path: '/public', from: 'batch' })).toBe('403');
      expect(await ask(server, { path: '/public', method: 'POST' })).toBe('403');
      expect(await ask(server, { path: '/public/../private' })).toBe('403');
      expect(await ask(server, { path: '/%70ublic' })).toBe('200');
    });
    expect(await ask(server, { from: 'batch', method: 'POST' })).toBe('200');
  });

  it('is asked anew on a connection that is open', async () => {
    const script = `
      const { Agent, get } = require('node:http');
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const ports = new Set();
      const ask = () => new Promise((resolve, reject) => get({ host: '${server}', port: 8080, agent }, (response) => {
        ports.add(response.socket.localPort);
        response.resume().on('end', () => resolve(response.statusCode));
      }).on('error', reject));
      (async () => {
        console.log(await ask());
        await new Promise((resolve) => process.stdin.once('data', resolve));
        console.log(await ask(), ports.size);
        agent.destroy();
        process.exit(0);
      })();
    `;
    const client = await Held.start('web', script);
    expect(await client.line()).toBe('200');
    await under([policy('p0', 'DENY', '[{}]')], async () => {
      client.goOn();
      expect(await client.line()).toBe('403 1');
    });
  });
});

describe.each(['tcp-near', 'tcp-far'])('a TCP server: %s', (server) => {
  const script = (host: string): string => `
    const { connect } = require('node:net');
    const socket = connect(9000, '${host}', () => socket.write('hello'));
    let said = false;
    socket.on('data', (data) => { if (!said) console.log(data.toString().trim()); said = true; });
    socket.on('error', (error) => console.log(error.code));
    socket.on('close', () => { console.log('closed'); process.exit(0); });
  `;

  it('loses a client that it is no longer to have, and takes no new one', async () => {
    const client = await Held.start('web', script(server));
    expect(await client.line()).toContain('hello');
    await under([policy('p0', 'DENY', '[{from: [{source: {serviceAccounts: [web]}}]}]')], async () => {
      expect((await client.rest()).at(-1)).toBe('closed');
      const again = await Held.start('web', script(server));
      expect(await again.rest()).not.toContain('hello');
      const other = await Held.start('batch', script(server));
      expect(await other.line()).toContain('hello');
      other.stop();
    });
  });
});

describe('the commands', () => {
  it('say of the running mesh what they say of its files', async () => {
    await under([policy('p0', 'ALLOW', '[{from: [{source: {serviceAccounts: [web]}}]}]')], async () => {
      const { runDirectory } = await lab.agent('node1').status();
      const orlop = (...args: string[]): { status: number | null; stdout: string } => spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], { encoding: 'utf8' });
      const question = ['explain', `${NAMESPACE}/web`, 'far:8080', 'GET', '/'];
      const live = orlop(...question, '--run-dir', runDirectory);
      expect(live.status).toBe(0);
      expect(live.stdout).toContain('hbone: mutual TLS between the nodes');
      expect(live.stdout).toContain(`ALLOWED by AuthorizationPolicy ${NAMESPACE}/p0 rules[0]`);
      expect(orlop(...question, '--config', lab.paths.config).stdout).toBe(live.stdout);
      const refused = orlop('explain', `${NAMESPACE}/batch`, 'near:8080', '--run-dir', runDirectory);
      expect([refused.status, refused.stdout]).toEqual([1, expect.stringMatching(/local: handed over[^]*REFUSED: no rule of the ALLOW policies takes it/)]);
      expect(await ask('near', { from: 'batch' })).toBe('403');
      expect(orlop('authz', 'near', '--run-dir', runDirectory).stdout).toMatch(/^any +STRICT +PeerAuthentication istio-system\/default$[^]*^ALLOW +shop\/p0 +0 +from serviceAccounts=\[web\]$/m);
    });
  });
});
