/** Whole labs on this machine: what their pods can reach and by what names, how they are looked at and changed, and that nothing stays. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.ts';
import type { LabOptions } from '../../src/lab/lab.ts';
import { NO_TRACES, tracesOf } from './traces.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
/** Names of this run's labs: two runs on one machine do not meet. */
const TAG = `t${process.pid.toString(36)}`;

const ENV = `env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}`;

const NODES = `
apiVersion: lab.orlop.io/v1
kind: Lab
metadata: {name: any}
spec:
  nodes: [{name: left}, {name: right}]
  hosts: {www.example.com: [outsider], api.example.com: [192.0.2.7]}
`;

const CLIENT = `---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: there}
spec: {nodeName: left, containers: [{name: shell, command: [sleep, infinity]}]}
`;

const LATE = 'until [ -e "$TMPDIR/go" ]; do sleep 0.05; done; exec node lab/apps/echo.ts';

const YAML = `${NODES}${CLIENT}---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: here}
spec:
  replicas: 3
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}, annotations: {colour: red}}
    spec:
      containers:
      - name: echo
        command: [node, lab/apps/echo.ts]
        ${ENV}
        ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: here}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: heads, namespace: here}
spec: {clusterIP: None, selector: {app: echo}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: self, namespace: here, labels: {app: self}}
spec:
  nodeName: right
  containers:
  - name: echo
    command: [node, lab/apps/echo.ts]
    ${ENV.replaceAll('\n    ', '\n')}
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}}
    securityContext: {runAsUser: 65534}
  - {name: second, command: [sh, -c, 'echo second started; exec sleep infinity']}
---
apiVersion: v1
kind: Service
metadata: {name: self, namespace: here}
spec: {selector: {app: self}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: beyond, annotations: {lab.orlop.io/external: "true"}}
spec: {containers: [{name: echo, command: [node, lab/apps/echo.ts], env: [{name: PORTS, value: "80"}], ports: [{containerPort: 80}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: here}
spec: {hosts: [echo], http: [{route: [{destination: {host: echo}}]}]} # a comment of the user's
`;

async function upFrom(text: string, name: string, options: LabOptions = {}): Promise<Lab> {
  return Lab.up([], { name, noAgent: true, sources: [{ file: 'test.yaml', text }], ...options });
}

/** GET from inside a pod; what the echo server that answered said. */
async function get(lab: Lab, pod: string, url: string, ...options: string[]): Promise<{ pod: string; client: { address: string }; server: { address: string } }> {
  const { code, stdout, stderr } = await lab.exec(pod, ['curl', '-sS', '-m', '5', ...options, url]);
  if (code !== 0) throw new Error(`curl ${url} in ${pod} failed: ${stderr}`);
  return JSON.parse(stdout) as never;
}

/** Addresses that a name has inside a pod; empty when it does not exist. */
async function resolve(lab: Lab, pod: string, name: string): Promise<string[]> {
  const { stdout } = await lab.exec(pod, ['getent', 'ahosts', name]);
  return [...new Set(stdout.split('\n').map((line) => line.split(' ')[0] ?? '').filter((address) => address !== ''))].sort();
}

describe('a lab', () => {
  const name = `${TAG}a`;
  let lab: Lab;

  beforeAll(async () => {
    lab = await upFrom(YAML, name);
  });

  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  it.each([['4', /^10\./], ['6', /^fd00:/]])('reaches every endpoint of a Service by its name over IPv%s', async (family, range) => {
    const wanted = (await lab.pods()).filter(({ deployment }) => deployment === 'echo').map((pod) => pod.name).sort();
    const seen = new Set<string>();
    // Random, not in turn: 60 tries miss one of three with a chance of 1 in 12 thousand million.
    for (let attempt = 0; attempt < 60 && seen.size < 3; attempt += 1) {
      const { pod, server } = await get(lab, 'client', 'http://echo.here/', `-${family}`);
      expect(server.address).toMatch(range);
      seen.add(pod);
    }
    expect([...seen].sort()).toEqual(wanted);
  });

  it('shows the server its client\'s own address, on the same node and on another', async () => {
    const { address } = await lab.pod('client');
    for (const pod of (await lab.pods()).filter(({ deployment }) => deployment === 'echo')) {
      expect((await get(lab, 'client', `http://${pod.address.ipv4}:8080/`)).client.address).toBe(address.ipv4);
      expect((await get(lab, 'client', `http://[${pod.address.ipv6}]:8080/`)).client.address).toBe(address.ipv6);
    }
  });

  it.each(['-4', '-6'])('lets a pod reach itself through its Service (%s)', async (family) => {
    expect((await get(lab, 'self', 'http://self.here/', family)).pod).toBe('self');
  });

  it('resolves names as a cluster does, and no others', async () => {
    const [service] = (await lab.status()).services;
    const sorted = [...service?.clusterIPs ?? []].sort();
    for (const host of ['echo.here', 'echo.here.svc', 'echo.here.svc.cluster.local', 'echo.here.svc.cluster.local.']) expect(await resolve(lab, 'client', host)).toEqual(sorted);
    expect(await resolve(lab, 'self', 'echo')).toEqual(sorted);
    expect(await resolve(lab, 'client', 'echo')).toEqual([]);
    expect(await resolve(lab, 'client', 'no.such.host')).toEqual([]);
    expect(await resolve(lab, 'client', 'api.example.com')).toEqual(['192.0.2.7']);
    const pods = (await lab.pods()).filter(({ deployment }) => deployment === 'echo').flatMap(({ address }) => [address.ipv4, address.ipv6]);
    expect(await resolve(lab, 'client', 'heads.here')).toEqual(pods.sort());
    expect(await resolve(lab, 'client', 'self')).toEqual([]);
  });

  it('answers SRV questions over UDP and TCP', async () => {
    const script = `
      const { Resolver } = require('node:dns').promises;
      new Resolver().resolveSrv('_http._tcp.echo.here.svc.cluster.local').then(([srv]) => console.log(srv.name, srv.port));
    `;
    expect((await lab.exec('client', ['node', '-e', script])).stdout).toBe('echo.here.svc.cluster.local 80\n');
    const overTcp = `
      const packet = require('dns-packet');
      const socket = require('node:net').connect(53, require('node:dns').getServers()[0], () => {
        socket.write(packet.streamEncode({ type: 'query', id: 5, questions: [{ type: 'A', name: 'api.example.com' }] }));
      });
      socket.once('data', (data) => { console.log(packet.streamDecode(data).answers[0].data); socket.end(); });
    `;
    expect((await lab.exec('client', ['node', '-e', overTcp])).stdout).toBe('192.0.2.7\n');
  });

  it('has hosts outside the cluster, which Services do not reach from', async () => {
    const outsider = await lab.pod('outsider');
    expect((await get(lab, 'client', 'http://www.example.com/')).server.address).toBe(outsider.address.ipv6);
    const [service] = (await lab.status()).services;
    const { code } = await lab.exec('outsider', ['curl', '-sS', '-m', '2', `http://${service?.clusterIPs[0] ?? ''}/`]);
    expect(code).not.toBe(0);
    const pod = await lab.pod('echo');
    expect((await get(lab, 'outsider', `http://${pod.address.ipv4}:8080/`)).client.address).toBe(outsider.address.ipv4);
    expect(readdirSync(lab.paths.config).filter((file) => file.includes('outsider'))).toEqual([]);
  });

  it('runs programs inside pods: their name, files, user and directory; code, output and input', async () => {
    const { code, stdout, stderr } = await lab.exec('self', ['sh', '-c', 'hostname; pwd; id -u; echo "$POD_NAME"; cat; echo bad >&2; exit 7'], { input: 'hello' });
    expect([code, stdout, stderr]).toEqual([7, `self\n${CHECKOUT}\n65534\nself\nhello`, 'bad\n']);
    expect((await lab.exec('self', ['cat', '/etc/hosts'])).stdout).toMatch(/^10\.\d+\.2\.\d+ self$/m);
    const group = (await lab.exec('client', ['cat', '/proc/self/cgroup'])).stdout;
    expect(group).toMatch(new RegExp(`0::/orlop-lab/${name}/pod-ol-${name}-there-client`));
    await expect(lab.exec('nobody', ['true'])).rejects.toThrow(/no pod "nobody"; there are there\/client/);
  });

  it('keeps what pods write', async () => {
    expect(await lab.logs('self')).toMatch(/echo listens on 8080\n[^]*second started/);
  });

  it('starts a process that died again, and says how often', async () => {
    const { containers: [before] } = await lab.pod('client');
    process.kill(before?.pid as number, 'SIGKILL');
    const { pods } = await lab.until((status) => status.pods.some((pod) => pod.name === 'client' && pod.ready && pod.containers[0]?.restarts === 1), { what: 'a restart' });
    expect(pods.find((pod) => pod.name === 'client')?.containers[0]?.pid).not.toBe(before?.pid);
    expect(await lab.logs('client')).toContain('the process ended with SIGKILL');
  });

  it('shows agents the user\'s objects as they were written, with those of the cluster', async () => {
    const files = readdirSync(lab.paths.config);
    expect(files).toEqual(expect.arrayContaining(['namespace.here.yaml', 'namespace.there.yaml', 'node.left.yaml', 'service.here.echo.yaml', 'pod.here.self.yaml', 'endpointslice.here.echo-ipv4.yaml']));
    expect(readFileSync(join(lab.paths.config, 'virtualservice.here.echo.yaml'), 'utf8')).toContain('# a comment of the user\'s');
    const pod = readFileSync(join(lab.paths.config, 'pod.here.self.yaml'), 'utf8');
    const netns = /orlop\.io\/netns: (\S+)/.exec(pod)?.[1] ?? '';
    expect(existsSync(netns)).toBe(true);
  });

  it('takes new, changed and removed objects while it runs', async () => {
    const rule = 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: echo}\nspec: {host: echo}\n';
    const file = join(lab.paths.config, 'destinationrule.here.echo.yaml');
    expect(await lab.apply(rule, { namespace: 'here' })).toEqual([{ object: 'destinationrule/echo', result: 'created' }]);
    expect(readFileSync(file, 'utf8')).toContain('namespace: here');
    expect(await lab.apply(rule, { namespace: 'here' })).toMatchObject([{ result: 'unchanged' }]);
    expect(await lab.apply(rule.replace('{host: echo}', '{host: self}'), { namespace: 'here' })).toMatchObject([{ result: 'configured' }]);
    expect(await lab.delete(rule, { namespace: 'here' })).toEqual([{ object: 'destinationrule/echo', result: 'deleted' }]);
    expect(existsSync(file)).toBe(false);
    await expect(lab.delete(rule, { namespace: 'here', file: 'rule.yaml' })).rejects.toThrow(/^rule\.yaml:3: DestinationRule echo: metadata\.name "echo" is not in namespace here/);
  });

  it('gives names to hosts of ServiceEntries and addresses to new Services', async () => {
    await lab.apply('apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext, namespace: here}\nspec: {hosts: [db.partner.test], addresses: [240.0.0.1]}\n');
    expect(await resolve(lab, 'client', 'db.partner.test')).toEqual(['240.0.0.1']);
    await lab.apply('apiVersion: v1\nkind: Service\nmetadata: {name: alias, namespace: here}\nspec: {selector: {app: self}, ports: [{port: 80, targetPort: 8080}]}\n');
    expect((await get(lab, 'client', 'http://alias.here/')).pod).toBe('self');
  });

  it('changes annotations of pods that run, and nothing else of them', async () => {
    const annotated = 'apiVersion: v1\nkind: Pod\nmetadata: {name: self, namespace: here, annotations: {orlop.io/mesh: disabled}}\n';
    await lab.apply(annotated);
    expect(readFileSync(join(lab.paths.config, 'pod.here.self.yaml'), 'utf8')).toContain('orlop.io/mesh: disabled');
    await expect(lab.apply(annotated.replace('name: self', 'name: new'))).rejects.toThrow(/"new" does not run in this lab/);
    await expect(lab.delete(annotated)).rejects.toThrow(/cannot be deleted while the lab runs/);
  });

  it('refuses a second lab of its name', async () => {
    await expect(upFrom(YAML, name)).rejects.toThrow(/is up already; take it down/);
    expect((await get(lab, 'client', 'http://echo.here/')).pod).toMatch(/^echo-/);
  });
});

describe('the life of a lab', () => {
  const name = `${TAG}b`;

  afterEach(async () => {
    await Lab.downByName(name).catch(() => undefined);
  });

  it('sends Services only to pods that are ready', async () => {
    await using lab = await upFrom(`${NODES.replace(/ {2}hosts: .*\n/, '')}${CLIENT}---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: here, labels: {app: late}}
spec: {containers: [{name: echo, command: [sh, -c, '${LATE}'], ports: [{containerPort: 8080}], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: late, namespace: here}
spec: {selector: {app: late}, ports: [{port: 80, targetPort: 8080}]}
`, name, { noWait: true });
    await lab.until(({ pods }) => pods.find((pod) => pod.name === 'client')?.ready === true, { what: 'a client' });
    const slice = join(lab.paths.config, 'endpointslice.here.late-ipv4.yaml');
    expect(readFileSync(slice, 'utf8')).toContain('ready: false');
    const refused = await lab.exec('client', ['curl', '-sS', '-m', '5', 'http://late.here/']);
    expect(refused.stderr).toMatch(/refused|Couldn't connect/);
    await lab.exec('late', ['sh', '-c', 'touch "$TMPDIR/go"']);
    await lab.until(({ pods }) => pods.every((pod) => pod.ready), { what: 'readiness' });
    await expect.poll(() => readFileSync(slice, 'utf8'), { timeout: 10_000 }).toContain('ready: true');
    await expect.poll(async () => (await lab.exec('client', ['curl', '-sS', '-m', '5', 'http://late.here/'])).code, { timeout: 10_000 }).toBe(0);
  });

  it('leaves nothing behind', async () => {
    const lab = await upFrom(YAML, name);
    const during = tracesOf(name);
    expect(during.netns.length).toBe(1 + 2 + 6);
    expect(during.processes.length).toBeGreaterThan(12);
    expect(during.links).toEqual([]);
    await lab.down();
    expect(tracesOf(name)).toEqual(NO_TRACES);
  });

  it('comes up again after its supervisor was killed, and down removes what is left', async () => {
    const first = await upFrom(YAML, name);
    const { pid } = await first.status();
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
    expect(tracesOf(name).netns.length).toBeGreaterThan(0);
    await expect(first.status()).rejects.toThrow(/does not run/);
    const second = await upFrom(YAML, name);
    expect((await get(second, 'client', 'http://echo.here/')).pod).toMatch(/^echo-/);
    process.kill((await second.status()).pid, 'SIGKILL');
    await Lab.downByName(name);
    expect(tracesOf(name)).toEqual(NO_TRACES);
  });

  it('ends with the process that brought it up, however that ended', async () => {
    const program = `
      import { Lab } from '${CHECKOUT}/src/lab/lab.ts';
      const lab = await Lab.up(['lab/echo.yaml'], { name: '${name}', noAgent: true });
      console.log('up', (await lab.status()).pid);
      setInterval(() => {}, 1000);
    `;
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: CHECKOUT, stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(createInterface({ input: owner.stdout }), 'line') as [string];
    expect(line).toMatch(/^up \d+$/);
    owner.kill('SIGKILL');
    await expect.poll(() => tracesOf(name), { timeout: 20_000, interval: 200 }).toEqual(NO_TRACES);
  });

  it('says which pod is not ready and why, and leaves nothing of a lab that did not come up', async () => {
    const broken = `${NODES.replace(/ {2}hosts: .*\n/, '')}${CLIENT.replace('[sleep, infinity]', '[sh, -c, "echo cannot start >&2; exit 3"], ports: [{containerPort: 80}]')}`;
    await expect(upFrom(broken, name, { timeoutMs: 1500 })).rejects.toThrow(/not ready in time: there\/client[^]*cannot start\nlab: the process ended with code 3/);
    expect(tracesOf(name)).toEqual(NO_TRACES);
  });

  it('stands beside another lab without their meeting', async () => {
    await using one = await upFrom(YAML, name);
    await using two = await upFrom(YAML, `${TAG}c`);
    expect((await one.pod('client')).address.ipv4).not.toBe((await two.pod('client')).address.ipv4);
    for (const lab of [one, two]) expect((await get(lab, 'client', 'http://echo.here/')).pod).toMatch(/^echo-/);
    const { address } = await two.pod('self');
    expect((await one.exec('client', ['curl', '-sS', '-m', '1', `http://${address.ipv4}:8080/`])).code).not.toBe(0);
    await two.down();
    expect((await get(one, 'client', 'http://echo.here/')).pod).toMatch(/^echo-/);
  });
});

describe('the lab\'s topologies', () => {
  it.each([
    ['echo.yaml', 'client', ['curl', '-sS', 'http://echo.echo/'], /"app":"echo"/],
    ['bookinfo.yaml', 'visitor', ['curl', '-sS', 'http://productpage.bookinfo:9080/productpage'], /reviews v[123], pod reviews-v/],
    ['foreign.yaml', 'client', ['sh', '-c', 'curl -sS http://nginx/ && redis-cli -h redis ping && curl -sS http://www.example.com/'], /^nginx nginx GET[^]*PONG[^]*"app":"example"/],
  ])('%s comes up and serves', async (file, pod, argv, answer) => {
    await using lab = await Lab.up([join(CHECKOUT, 'lab', file)], { name: `${TAG}d`, noAgent: true });
    const { stdout, stderr } = await lab.exec(pod, argv);
    expect(stderr).toBe('');
    expect(stdout).toMatch(answer);
  });

  it('bookinfo\'s reviews are three versions, and the load tool counts them', async () => {
    await using lab = await Lab.up([join(CHECKOUT, 'lab/bookinfo.yaml')], { name: `${TAG}d`, noAgent: true });
    const { stdout } = await lab.exec('visitor', ['node', 'lab/apps/load.ts', 'http://reviews.bookinfo:9080/reviews/0', '-n', '60', '--no-keepalive', '--json']);
    const { statuses, versions } = JSON.parse(stdout) as { statuses: object; versions: Record<string, number> };
    expect(statuses).toEqual({ 200: 60 });
    expect(Object.keys(versions)).toEqual(['v1', 'v2', 'v3']);
  });
});
