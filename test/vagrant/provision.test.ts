/** The laboratory of three machines, as far as it can be looked at without them. What its scripts do is tried in test/kube/vagrant.kube.ts. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { bookinfoObjects } from '../kube/story/bookinfo.ts';

const LABORATORY = join(import.meta.dirname, '../../vagrant');
const PROVISION = join(LABORATORY, 'provision');
const scripts = readdirSync(PROVISION).filter((name) => name.endsWith('.sh'));

describe('the scripts', () => {
  it('please shellcheck', () => {
    expect(() => execFileSync('shellcheck', scripts.map((name) => join(PROVISION, name)), { encoding: 'utf8', stdio: 'pipe' })).not.toThrow();
  });

  it('can be run, and are those that the Vagrantfile and each other name', () => {
    const texts = [join(LABORATORY, 'Vagrantfile'), ...scripts.map((name) => join(PROVISION, name))].map((path) => readFileSync(path, 'utf8'));
    const named = new Set(texts.flatMap((text) => [...text.matchAll(/(?:'|provision\/)([a-z-]+\.sh)/g)].map((found) => found[1])));
    expect(named).toEqual(new Set(scripts));
    for (const name of scripts) expect(statSync(join(PROVISION, name)).mode & 0o111, name).toBe(0o111);
  });

  it('configure kubeadm with the network of pods that they make', () => {
    const documents = parseAllDocuments(execFileSync(join(PROVISION, 'kubeadm-config.sh'), ['192.168.56.10', 'v1.33.0'], { encoding: 'utf8' })).map((document) => document.toJS() as Record<string, unknown>);
    expect(documents).toMatchObject([{ kind: 'InitConfiguration', localAPIEndpoint: { advertiseAddress: '192.168.56.10' } }, { kind: 'ClusterConfiguration', kubernetesVersion: 'v1.33.0' }]);
    const [, pods] = /^PODS=(.+)$/m.exec(readFileSync(join(PROVISION, 'network.sh'), 'utf8')) ?? [];
    expect(documents[1]?.['networking']).toEqual({ podSubnet: pods });
  });
});

it('what is said to be tried after all is rules that lead somewhere', () => {
  const [line = ''] = readFileSync(join(PROVISION, 'deploy.sh'), 'utf8').match(/^ {2}kubectl apply -n bookinfo .*$/m) ?? [];
  const files = [...line.matchAll(/-f \/opt\/orlop\/(\S+)/g)].map(([, path = '']) => join(LABORATORY, '..', path));
  expect(files.length).toBeGreaterThan(0);
  const rules = files.flatMap((path) => parseAllDocuments(readFileSync(path, 'utf8')).map((document) => document.toJS() as { metadata: object })).map((rule) => ({ ...rule, metadata: { ...rule.metadata, namespace: 'bookinfo' } }));
  const { problems } = buildSnapshot([...bookinfoObjects(), ...rules].map((object, i) => ({ name: `${i}`, text: JSON.stringify(object) })));
  expect(problems).toEqual([]);
});

it('Vagrant takes the Vagrantfile', { timeout: 60_000 }, () => {
  // Without a hypervisor there is no provider whose settings could be looked at.
  expect(execFileSync('vagrant', ['validate', '--ignore-provider'], { cwd: LABORATORY, encoding: 'utf8', stdio: 'pipe' })).toContain('Vagrantfile validated successfully');
});
