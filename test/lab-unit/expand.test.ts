import { describe, expect, it } from 'vitest';
import { TWO_NODES, WEB, worldOf } from './world.ts';

function pod(spec: string, metadata = ''): string {
  return `${TWO_NODES}---\napiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: ns${metadata}}\nspec:\n${spec}`;
}

describe('expanding a lab file', () => {
  it('gives nodes, bridges and pods the addresses of the plan, in both families', () => {
    const { nodes, pods } = worldOf(WEB);
    expect(nodes.map(({ address, bridge }) => [address.ipv4, address.ipv6, bridge.ipv4, bridge.ipv6])).toEqual([
      ['10.7.0.2', 'fd00:7::2', '10.7.1.1', 'fd00:7:1::1'],
      ['10.7.0.3', 'fd00:7::3', '10.7.2.1', 'fd00:7:2::1'],
    ]);
    expect(pods.map(({ node, address }) => [node, address.ipv4, address.ipv6])).toEqual([
      ['a', '10.7.1.2', 'fd00:7:1::2'],
      ['b', '10.7.2.2', 'fd00:7:2::2'],
    ]);
  });

  it('makes pods of a Deployment that name their ReplicaSet as Kubernetes does', () => {
    const { pods } = worldOf(WEB);
    for (const { name, owner, labels, serviceAccount } of pods) {
      expect(name).toMatch(/^web-[0-9a-f]{9}-[0-9a-f]{5}$/);
      expect(owner?.deployment).toBe('web');
      expect(name.startsWith(`${owner?.replicaSet}-`)).toBe(true);
      expect(labels).toEqual({ app: 'web', 'pod-template-hash': owner?.replicaSet.slice('web-'.length) });
      expect(serviceAccount).toBe('seller');
    }
    expect(new Set(pods.map((one) => one.name)).size).toBe(2);
    expect(new Set(pods.map((one) => one.uid)).size).toBe(2);
  });

  it('places pods by nodeName and nodeSelector', () => {
    expect(worldOf(pod('  nodeName: b\n  containers: [{name: c, command: [x]}]')).pods[0]?.node).toBe('b');
    expect(worldOf(pod('  nodeSelector: {disk: ssd}\n  containers: [{name: c, command: [x]}]')).pods[0]?.node).toBe('b');
  });

  it('puts external hosts outside, and lets names of the Lab mean them', () => {
    const text = pod('  containers: [{name: c, command: [x]}]', ', annotations: {lab.orlop.io/external: "true"}').replace('nodes:', 'hosts: {www.example.com: [one, 192.0.2.1]}\n  nodes:');
    const { pods, hosts } = worldOf(text);
    expect(pods[0]?.node).toBeUndefined();
    expect(pods[0]?.address.ipv4).toBe('10.7.251.2');
    expect(hosts).toEqual({ 'www.example.com': ['10.7.251.2', 'fd00:7:fb::2', '192.0.2.1'] });
  });

  it('fills the environment from the downward API and ConfigMaps, and uses it in arguments', () => {
    const world = worldOf(`${pod(`
  containers:
    - name: c
      command: [serve, --name, $(NAME), $(UNKNOWN)]
      env:
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: V, valueFrom: {fieldRef: {fieldPath: "metadata.labels['version']"}}}
        - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
        - {name: PLAIN, value: "1"}
`, ', labels: {version: v3}')}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: ns}
data: {colour: red}
`);
    const [container] = world.pods[0]?.containers ?? [];
    expect(container?.env).toEqual({ NAME: 'one', WHERE: 'a', IP: '10.7.1.2', V: 'v3', COLOUR: 'red', PLAIN: '1' });
    expect(container?.argv).toEqual(['serve', '--name', 'one', '$(UNKNOWN)']);
  });

  it('allocates virtual addresses, but none for headless Services', () => {
    const { services } = worldOf(`${WEB}---
apiVersion: v1
kind: Service
metadata: {name: heads, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six, namespace: shop}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80}]}
`);
    expect(services.map(({ name, clusterIPs }) => [name, clusterIPs])).toEqual([['web', ['10.7.254.1', 'fd00:7:fe::1']], ['heads', []], ['six', ['fd00:7:fe::3']]]);
  });

  it('names namespaces of the kernel apart even where joined names are alike, and within bounds', () => {
    const long = 'x'.repeat(60);
    const { pods } = worldOf(`${TWO_NODES}${[['a-b', 'c'], ['a', 'b-c'], ['ns', long]].map(([namespace, name]) => `---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}}
spec: {containers: [{name: c, command: [x]}]}
`).join('')}`);
    expect(new Set(pods.map(({ netns }) => netns)).size).toBe(3);
    for (const { netns } of pods) expect(netns).toMatch(/^ol-demo-.{1,53}$/);
  });
});

describe('mistakes in a lab file', () => {
  const container = '  containers: [{name: c, command: [x]}]';
  it.each([
    ['no Lab', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n', /^lab\.yaml: no Lab document; add "apiVersion: lab\.orlop\.io/],
    ['bad syntax', 'kind: [Lab\n', /^lab\.yaml:\d+: is not YAML: .*; correct the syntax$/],
    ['a dash in the name', TWO_NODES.replace('name: demo', 'name: my-demo'), /^lab\.yaml:4: Lab my-demo: metadata\.name is "my-demo"; use 1 to 15/],
    ['no nodes', TWO_NODES.replace(/nodes: .*/, 'nodes: []'), /spec\.nodes is empty; list at least one node/],
    ['an unknown node', pod(`  nodeName: z\n${container}`), /^lab\.yaml:12: Pod one: spec\.nodeName is "z"; the nodes of this lab are a, b$/],
    ['no fitting node', pod(`  nodeSelector: {disk: tape}\n${container}`), /spec\.nodeSelector matches no node/],
    ['no command', pod('  containers: [{name: c, image: nginx}]'), /spec\.containers\[0\]\.command is missing; a container of the lab is a process/],
    ['a volume', pod(`  volumes: [{name: v, emptyDir: {}}]\n${container}`), /spec\.volumes has no counterpart in the lab; remove it/],
    ['a string for a port', pod('  containers: [{name: c, command: [x], ports: [{containerPort: "80"}]}]'), /ports\[0\]\.containerPort is "80"; it must be a whole number/],
    ['an unknown probe port', pod('  containers: [{name: c, command: [x], readinessProbe: {tcpSocket: {port: web}}}]'), /tcpSocket\.port "web" is not a port of this container/],
    ['a selector that does not match', WEB.replace('metadata: {labels: {app: web}}', 'metadata: {labels: {app: wob}}'), /spec\.selector\.matchLabels\.app does not match/],
    ['the same name twice', `${pod(container)}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: ns}\nspec:\n${container}\n`, /"one" is used twice; the first Pod of this name is at lab\.yaml:\d+/],
    ['an unknown field reference', pod('  containers: [{name: c, command: [x], env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]}]'), /fieldPath is "status\.hostIP"; use metadata\.name/],
  ])('%s', (_what, text, message) => {
    expect(() => worldOf(text)).toThrow(message);
  });
});
