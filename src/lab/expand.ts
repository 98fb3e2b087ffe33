/** Lab documents → World: Deployments become pods, pods get nodes and addresses, Services get virtual addresses. Pure. */
import { createHash } from 'node:crypto';
import {
  PODS_PER_NODE_MAX, NODE_NUMBER_MAX, bridgeAddress, externalAddress, nodeAddress, podAddress, serviceAddress,
} from './addresses.ts';
import type { Field, SourceDocument } from './document.ts';
import { LabError } from './lab-error.ts';
import { fabricNetnsName, netnsName } from './names.ts';
import { readContainers } from './container.ts';
import type { PodFacts } from './container.ts';
import { readService } from './service.ts';
import { podKey } from './world.ts';
import type { AgentSpec, ControlSpec, LabNode, LabPod, LabService, World } from './world.ts';

const EXTERNAL_ANNOTATION = 'lab.orlop.io/external';
const LAB_NAME = /^[a-z][a-z0-9]{0,14}$/;
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;
/** Files of the lab's own in its run directory, where each node has a directory of its name. */
const RESERVED_NODE_NAMES = new Set(['ca', 'config', 'pods', 'logs']);
const REPLICAS_MAX = 100;

export interface ExpandOptions {
  /** Which lab of the machine this is: the second byte of every address. */
  number: number;
  /** Instead of the Lab document's metadata.name. */
  name?: string;
  /** Start no agents, whatever the Lab document says. */
  noAgent?: boolean;
  /** Instead of the Lab document's `agent.redirect`. */
  redirect?: AgentSpec['redirect'];
  /** Namespace of objects that name none. */
  namespace?: string;
}

/** The Lab document among others. Throws LabError when there is none, or more than one. */
export function findLab(documents: readonly SourceDocument[]): SourceDocument {
  const [lab, second] = documents.filter((document) => document.kind === 'Lab');
  if (lab === undefined) {
    const file = documents[0]?.file ?? 'the input';
    throw new LabError(`${file}: no Lab document; add "apiVersion: lab.orlop.io/v1, kind: Lab, metadata: {name: demo}, spec: {nodes: [{name: node1}]}"`);
  }
  second?.root.fail('is a second Lab', `keep one of it and ${lab.file}:${lab.lineOf([])}`);
  return lab;
}

/** Name of the lab, checked: it becomes part of the names of namespaces, directories and cgroups. */
export function labName(documents: readonly SourceDocument[], override?: string): string {
  const field = findLab(documents).root.get('metadata').get('name');
  const name = override ?? field.string();
  if (LAB_NAME.test(name)) return name;
  if (override !== undefined) throw new LabError(`--name ${override}: use 1 to 15 letters and digits, a letter first, no dash`);
  return field.fail(`is "${name}"`, 'use 1 to 15 lower-case letters and digits, a letter first, no dash');
}

/** Expand everything. Throws LabError at the first mistake, with file, line, field and remedy. */
export function expand(documents: readonly SourceDocument[], options: ExpandOptions): World {
  const lab = findLab(documents);
  const name = labName(documents, options.name);
  const spec = lab.root.get('spec');
  const namespaceOf = (document: SourceDocument): string => document.namespace ?? options.namespace ?? 'default';
  const nodes = readNodes(spec.get('nodes'), name, options.number);
  const pods = new PodBuilder(name, options.number, nodes, configMaps(documents, namespaceOf));
  const services: LabService[] = [];
  for (const document of documents) {
    const namespace = namespaceOf(document);
    if (document.kind === 'Pod') pods.addPod(document, namespace);
    else if (document.kind === 'Deployment') pods.addDeployment(document, namespace);
    else if (document.kind === 'Service') services.push(readService(document, namespace, serviceAddress(options.number, services.length)));
  }
  checkDuplicates(documents, namespaceOf);
  const declared = documents.filter((document) => document.kind === 'Namespace').map((document) => document.name);
  return {
    name,
    number: options.number,
    fabricNetns: fabricNetnsName(name),
    nodes,
    pods: pods.pods,
    services,
    namespaces: [...new Set([...declared, ...pods.pods.map((pod) => pod.namespace), ...services.map((service) => service.namespace)])],
    hosts: readHosts(spec.get('hosts'), pods.pods),
    agent: readAgent(spec.get('agent'), options),
    control: readControl(spec.get('control')),
  };
}

function readNodes(field: Field, lab: string, number: number): LabNode[] {
  if (field.items().length === 0) field.fail('is empty', 'list at least one node: [{name: node1}]');
  if (field.items().length > NODE_NUMBER_MAX) field.fail('is too long', `a lab has at most ${NODE_NUMBER_MAX} nodes`);
  const taken = new Set<string>();
  return field.items().map((item, index) => {
    const name = item.get('name').string();
    if (!OBJECT_NAME.test(name) || name.includes('.')) item.get('name').fail(`is "${name}"`, 'use lower-case letters, digits and dashes');
    if (RESERVED_NODE_NAMES.has(name)) item.get('name').fail(`is "${name}"`, `choose another: ${[...RESERVED_NODE_NAMES].join(', ')} are taken by the lab's own files`);
    if (taken.has(name)) item.get('name').fail(`"${name}" is used twice`, 'give each node a name of its own');
    taken.add(name);
    const labels = { 'kubernetes.io/hostname': name, ...item.get('labels').stringMap() };
    const at = index + 1;
    return { name, number: at, labels, netns: netnsName(lab, name), address: nodeAddress(number, at), bridge: bridgeAddress(number, at) };
  });
}

function readAgent(field: Field, { noAgent = false, redirect }: ExpandOptions): AgentSpec {
  return {
    enabled: !noAgent && (field.get('enabled').optionalBoolean() ?? true),
    redirect: redirect ?? field.get('redirect').oneOf(['auto', 'iptables', 'ebpf']) ?? 'auto',
    args: field.get('args').strings(),
  };
}

function readControl(field: Field): ControlSpec {
  return { lifetime: field.get('certificateLifetime').optionalString() ?? '24h', args: field.get('args').strings() };
}

/** spec.hosts: addresses, or names of pods whose addresses they mean. */
function readHosts(field: Field, pods: readonly LabPod[]): Record<string, string[]> {
  return Object.fromEntries(field.entries().map(([host, list]) => [host, list.items().flatMap((item) => {
    const value = item.string();
    if (/^[\d.]+$/.test(value) || value.includes(':')) return [value];
    const pod = pods.find((one) => one.name === value || podKey(one) === value);
    if (pod === undefined) return item.fail(`"${value}" is neither an address nor a Pod of this lab`, 'write an IP address or the name of a Pod');
    return [pod.address.ipv4, pod.address.ipv6];
  })]));
}

function configMaps(documents: readonly SourceDocument[], namespaceOf: (document: SourceDocument) => string): Map<string, Record<string, string>> {
  return new Map(documents.filter((document) => document.kind === 'ConfigMap')
    .map((document) => [`${namespaceOf(document)}/${document.name}`, document.root.get('data').stringMap()]));
}

function checkDuplicates(documents: readonly SourceDocument[], namespaceOf: (document: SourceDocument) => string): void {
  const seen = new Map<string, SourceDocument>();
  for (const document of documents) {
    const key = `${document.kind} ${namespaceOf(document)}/${document.name}`;
    const first = seen.get(key);
    if (first !== undefined) document.root.get('metadata').get('name').fail(`"${document.name}" is used twice`, `the first ${document.kind} of this name is at ${first.file}:${first.lineOf([])}`);
    seen.set(key, document);
  }
}

/** Makes pods one after another, because each takes the next address of its node. */
class PodBuilder {
  readonly pods: LabPod[] = [];
  readonly #lab: string;
  readonly #number: number;
  readonly #nodes: LabNode[];
  readonly #configMaps: Map<string, Record<string, string>>;
  /** Pods placed so far, by node; external hosts by undefined. */
  readonly #placed = new Map<string | undefined, number>();
  #turn = 0;

  constructor(lab: string, number: number, nodes: LabNode[], maps: Map<string, Record<string, string>>) {
    this.#lab = lab;
    this.#number = number;
    this.#nodes = nodes;
    this.#configMaps = maps;
  }

  addPod(document: SourceDocument, namespace: string): void {
    const { root } = document;
    this.#add(root, namespace, document.name, undefined);
  }

  addDeployment(document: SourceDocument, namespace: string): void {
    const spec = document.root.get('spec');
    const template = spec.get('template');
    const labels = template.get('metadata').get('labels').stringMap();
    for (const [key, field] of spec.get('selector').get('matchLabels').entries()) {
      if (labels[key] !== field.string()) field.fail(`does not match the template's labels`, `add ${key}: ${field.string()} to spec.template.metadata.labels`);
    }
    const hash = digest(JSON.stringify(template.value)).slice(0, 9);
    const replicaSet = `${document.name}-${hash}`;
    const owner = { deployment: document.name, replicaSet, uid: uid(`${this.#lab}/${namespace}/ReplicaSet/${replicaSet}`) };
    const replicas = spec.get('replicas').optionalInteger(0, REPLICAS_MAX) ?? 1;
    for (let replica = 0; replica < replicas; replica += 1) {
      this.#add(template, namespace, `${replicaSet}-${digest(`${replicaSet}/${replica}`).slice(0, 5)}`, { ...owner, hash });
    }
  }

  /** `object` holds metadata and spec: a Pod, or a Deployment's template. */
  #add(object: Field, namespace: string, name: string, owner: (NonNullable<LabPod['owner']> & { hash: string }) | undefined): void {
    if (!OBJECT_NAME.test(name)) object.get('metadata').get('name').fail(`is "${name}"`, 'use at most 63 lower-case letters, digits and dashes');
    const [metadata, spec] = [object.get('metadata'), object.get('spec')];
    const annotations = metadata.get('annotations').stringMap();
    const node = annotations[EXTERNAL_ANNOTATION] === 'true' ? undefined : this.#schedule(spec);
    const index = this.#placed.get(node?.name) ?? 0;
    if (index >= PODS_PER_NODE_MAX) object.fail(`is one pod too many for ${node?.name ?? 'the outside'}`, `a node holds ${PODS_PER_NODE_MAX}; add nodes`);
    this.#placed.set(node?.name, index + 1);
    const address = node === undefined ? externalAddress(this.#number, index) : podAddress(this.#number, node.number, index);
    const labels = { ...metadata.get('labels').stringMap(), ...(owner && { 'pod-template-hash': owner.hash }) };
    const serviceAccount = spec.get('serviceAccountName').optionalString() ?? 'default';
    const facts: PodFacts = { namespace, name, uid: uid(`${this.#lab}/${namespace}/Pod/${name}`), labels, annotations, serviceAccount, address, node: node?.name };
    const subdomain = spec.get('subdomain').optionalString();
    const { containers, written } = readContainers(spec, facts, this.#configMaps);
    this.pods.push({
      ...facts,
      ...(owner && { owner: { deployment: owner.deployment, replicaSet: owner.replicaSet, uid: owner.uid } }),
      hostname: spec.get('hostname').optionalString() ?? name,
      ...(subdomain !== undefined && { subdomain }),
      ...(node && { node: node.name }),
      netns: netnsName(this.#lab, namespace, name),
      containers,
      spec: written,
    } as LabPod);
  }

  #schedule(spec: Field): LabNode {
    const wanted = spec.get('nodeName').optionalString();
    if (wanted !== undefined) {
      return this.#nodes.find((node) => node.name === wanted)
        ?? spec.get('nodeName').fail(`is "${wanted}"`, `the nodes of this lab are ${this.#nodes.map((node) => node.name).join(', ')}`);
    }
    const selector = Object.entries(spec.get('nodeSelector').stringMap());
    const fitting = this.#nodes.filter((node) => selector.every(([key, value]) => node.labels[key] === value));
    const chosen = fitting[this.#turn % Math.max(1, fitting.length)];
    this.#turn += 1;
    return chosen ?? spec.get('nodeSelector').fail('matches no node', 'change it, or the labels of a node in the Lab document');
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** A stable identifier in the form that Kubernetes gives objects. */
function uid(text: string): string {
  return digest(text).replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/, '$1-$2-4$3-8$4-$5');
}
