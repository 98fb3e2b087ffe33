/** `orlop lab` as a user types it. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NO_TRACES, tracesOf } from './traces.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const NAME = `u${process.pid.toString(36)}`;
const PROGRAM = `import { labCommand } from '${CHECKOUT}/src/cli/lab.ts'; await labCommand().parseAsync(process.argv.slice(1), { from: 'user' });`;

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function lab(args: string[], input = ''): Promise<Result> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM, '--', ...args], { cwd: CHECKOUT });
  child.stdin.end(input);
  const [code, stdout, stderr] = await Promise.all([new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
  }), text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}

describe('orlop lab', () => {
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'orlop-lab-test-'));
    const { code, stdout, stderr } = await lab(['up', 'lab/echo.yaml', '--name', NAME, '--no-agent']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/==> network: node1 [^]*is up after[^]*tcp-echo +1\/1[^]*Try:\n {2}orlop lab exec client -- curl/);
  });

  afterAll(async () => {
    const { code } = await lab(['down', NAME]);
    expect(code).toBe(0);
    expect(tracesOf(NAME)).toEqual(NO_TRACES);
    rmSync(folder, { recursive: true });
  });

  it('shows what runs', async () => {
    expect((await lab(['ps', '--name', NAME])).stdout).toMatch(/echo +echo-v2-\w+-\w+ +1\/1 +0 +node1 /);
    const [status] = JSON.parse((await lab(['ps', '--name', NAME, '--json'])).stdout) as { name: string }[];
    expect(status?.name).toBe(NAME);
  });

  it('runs a program in a pod: flags after -- are its own, and so are input and exit code', async () => {
    expect(await lab(['exec', '--name', NAME, 'client', '--', 'sh', '-c', 'cat; hostname; exit 3'], 'typed ')).toEqual({ code: 3, stdout: 'typed client\n', stderr: '' });
    expect(await lab(['exec', 'echo/tcp-echo', '-c', 'nope', '--name', NAME, '--', 'true'])).toMatchObject({ code: 1, stderr: 'orlop lab: no container "nope" in pod tcp-echo; there are tcp-echo\n' });
  });

  it('shows logs of a pod and of the supervisor', async () => {
    expect((await lab(['logs', 'tcp-echo', '--name', NAME])).stdout).toBe('tcp-echo listens on 9000\n');
    expect((await lab(['logs', 'supervisor', '--name', NAME])).stdout).toBe('');
  });

  it('applies and deletes files, and the standard input', async () => {
    const file = join(folder, 'rule.yaml');
    writeFileSync(file, 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: echo}\nspec: {host: echo}\n');
    expect(await lab(['apply', file, '-n', 'echo', '--name', NAME])).toEqual({ code: 0, stdout: 'destinationrule/echo created\n', stderr: '' });
    expect(await lab(['delete', file, '-n', 'echo', '--name', NAME])).toEqual({ code: 0, stdout: 'destinationrule/echo deleted\n', stderr: '' });
    expect(await lab(['apply', '-', '--name', NAME], 'kind: [')).toMatchObject({ code: 1, stderr: expect.stringMatching(/^orlop lab: standard input:1: is not YAML: .*; correct the syntax\n$/) as unknown });
  });

  it('leaves a lab that is not ready in time to be looked at, and says so', async () => {
    const [file, name] = [join(folder, 'broken.yaml'), `${NAME}x`];
    writeFileSync(file, `apiVersion: lab.orlop.io/v1
kind: Lab
metadata: {name: any}
spec: {nodes: [{name: one}]}
---
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec: {containers: [{name: c, command: [sh, -c, 'echo no licence; exit 1'], ports: [{containerPort: 80}]}]}
`);
    const { code, stderr } = await lab(['up', file, '--name', name, '--no-agent', '--timeout', '1']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^orlop lab: not ready in time: default\/broken[^]*no licence[^]*The lab stays up/);
    expect((await lab(['ps', '--name', name])).stdout).toMatch(/broken +0\/1/);
    expect((await lab(['down', name])).stdout).toBe(`lab ${name} is down\n`);
    expect(tracesOf(name)).toEqual(NO_TRACES);
  });

  it('answers mistakes with one line', async () => {
    expect((await lab(['up', 'nowhere.yaml'])).stderr).toBe('orlop lab: nowhere.yaml: cannot be read (ENOENT); give the path of a YAML file\n');
    expect((await lab(['down', 'nosuchlab'])).stderr).toBe('orlop lab: there is no lab "nosuchlab"\n');
    expect((await lab(['agent', 'restart', 'node1', '--name', NAME])).stderr).toBe(`orlop lab: the lab ${NAME} runs no agents; bring it up without --no-agent\n`);
    expect((await lab(['up', 'lab/echo.yaml', '--name', NAME, '--no-agent'])).stderr).toMatch(/is up already; take it down with orlop lab down/);
  });
});
