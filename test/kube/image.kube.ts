/** Orlop's image: built here without a registry, the same each time, and able to run in a pod with what its commands call. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage } from '../../deploy/image/build.ts';
import { Cluster } from './cluster/cluster.ts';

const CHECKOUT = join(import.meta.dirname, '../..');

const RULES = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web}}]}]
`;

/** What the image is built from, as it is now: somebody may be writing in the checkout. */
function copyCheckout(directory: string): void {
  for (const name of ['src', 'bpf/capture.bpf.o', 'cni/orlop-cni', 'keeper/orlop-keeper', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json']) {
    cpSync(join(CHECKOUT, name), join(directory, name), { recursive: true });
  }
  symlinkSync(join(CHECKOUT, 'node_modules'), join(directory, 'node_modules'));
}

describe('the image', () => {
  let work: string;
  let cluster: Cluster;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'orlop-image-test-'));
    copyCheckout(join(work, 'checkout'));
    const { path } = buildImage(join(work, 'orlop.tar'), 'test', join(work, 'checkout'));
    cluster = await Cluster.up({ name: 'image', nodes: 2 });
    await cluster.loadImage(path);
    await cluster.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'rules', namespace: 'default' }, data: { 'rules.yaml': RULES } }]);
  });

  afterAll(async () => {
    await cluster?.down();
    rmSync(work, { recursive: true, force: true });
  });

  /** Run the image to its end as a pod; returns what it wrote, and its exit code. */
  const run = async (name: string, container: object, pod: object = {}): Promise<{ output: string; code: number }> => {
    await cluster.apply([{
      apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default' },
      spec: { restartPolicy: 'Never', containers: [{ name: 'orlop', image: 'orlop:test', imagePullPolicy: 'Never', ...container }], ...pod },
    }]);
    await cluster.kubectl(['wait', `pod/${name}`, '--for=jsonpath={.status.containerStatuses[0].state.terminated}', '--timeout=60s']);
    const code = await cluster.kubectl(['get', 'pod', name, '-o', 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}']);
    return { output: await cluster.logs(name), code: Number(code) };
  };

  it('says its version', async () => {
    const { version } = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as { version: string };
    expect(await run('version', { args: ['--version'] })).toEqual({ output: `${version}\n`, code: 0 });
  });

  it('checks YAML, as a user without rights on a file system that it cannot write to', async () => {
    const { output, code } = await run('check', {
      args: ['config', 'check', '/rules'],
      volumeMounts: [{ name: 'rules', mountPath: '/rules' }],
      securityContext: { runAsNonRoot: true, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    }, { volumes: [{ name: 'rules', configMap: { name: 'rules' } }] });
    expect({ output, code }).toEqual({ output: expect.stringContaining('1 route') as string, code: 0 });
  });

  it.each([['/usr/sbin/nft', 'list', 'ruleset'], ['/usr/sbin/iptables-nft-save'], ['/usr/sbin/ip6tables-legacy-restore', '--version'], ['/usr/sbin/bpftool', 'version'], ['/usr/bin/mount', '--version']])(
    'has %s with all its libraries', async (...command) => {
      const name = command[0]?.split('/').at(-1) ?? '';
      const { output, code } = await run(`tool-${name}`, { command, securityContext: { privileged: true, runAsUser: 0 } });
      expect({ output, code }).toMatchObject({ code: 0 });
    },
  );

  it('is the same when it is built again', () => {
    const again = buildImage(join(work, 'again.tar'), 'test', join(work, 'checkout'));
    expect(readFileSync(again.path).equals(readFileSync(join(work, 'orlop.tar')))).toBe(true);
  });
});
