/** The user's objects while the lab runs: what `lab apply` and `lab delete` may change, and what that means for the world. */
import { kindOf } from '../mesh/parse/istio-schemas.ts';
import { serviceAddress } from './addresses.ts';
import type { ConfigDirectory, ObjectName } from './config-directory.ts';
import type { SourceDocument } from './document.ts';
import { readService } from './service.ts';
import type { Applied } from './status.ts';
import type { LabPod, World } from './world.ts';
import type { ExtraHost } from './zone.ts';

/** Kinds that the lab itself turns into other objects, so that their own text is not written for agents. */
const EXPANDED = new Set(['Lab', 'Pod', 'Deployment', 'Service']);
/** Kinds that belong to no namespace. */
const CLUSTER_WIDE = new Set(['Namespace', 'Node', 'CustomResourceDefinition', 'GatewayClass', 'ClusterRole', 'ClusterRoleBinding']);
const DEFAULT_NAMESPACE = 'default';

export class LiveObjects {
  readonly directory: ConfigDirectory;
  readonly #world: World;
  readonly #hosts = new Map<string, ExtraHost[]>();
  #servicesMade: number;

  constructor(world: World, directory: ConfigDirectory) {
    this.#world = world;
    this.directory = directory;
    this.#servicesMade = world.services.length;
  }

  /** Write the objects of the lab's own files, and the namespaces that they use without declaring them. */
  putUserObjects(documents: readonly SourceDocument[]): void {
    for (const document of documents) if (!EXPANDED.has(document.kind)) this.#put(document, undefined);
    for (const name of this.#world.namespaces) {
      const object = { kind: 'Namespace', name };
      if (!this.directory.has(object)) this.directory.put(object, `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${name}\n`);
    }
  }

  /** Names that ServiceEntries give addresses. */
  extraHosts(): ExtraHost[] {
    return [...this.#hosts.values()].flat();
  }

  /** Add or replace objects. All are checked before the first is applied. */
  apply(documents: readonly SourceDocument[], namespace: string | undefined): Applied[] {
    const acts = documents.map((document) => this.#applying(document, namespace));
    return acts.map((act) => act());
  }

  /** Remove objects. All are checked before the first is removed. */
  remove(documents: readonly SourceDocument[], namespace: string | undefined): Applied[] {
    const acts = documents.map((document) => this.#removing(document, namespace));
    return acts.map((act) => act());
  }

  #applying(document: SourceDocument, namespace: string | undefined): () => Applied {
    const { kind, name } = document;
    switch (kind) {
      case 'Lab': return document.root.fail('cannot be changed while the lab runs', 'run orlop lab down, then up again');
      case 'Pod':
      case 'Deployment': return this.#annotating(document, namespace);
      case 'Service': {
        const home = document.namespace ?? namespace ?? DEFAULT_NAMESPACE;
        const index = this.#world.services.findIndex((service) => service.name === name && service.namespace === home);
        const service = readService(document, home, serviceAddress(this.#world.number, this.#servicesMade));
        return () => {
          const before = this.#world.services[index];
          if (before === undefined) this.#servicesMade += 1;
          else if (before.clusterIPs.length > 0 && service.clusterIPs.length > 0) service.clusterIPs = before.clusterIPs;
          this.#world.services.splice(index === -1 ? this.#world.services.length : index, 1, service);
          return { object: `service/${name}`, result: before === undefined ? 'created' : 'configured' };
        };
      }
      default: return () => ({ object: `${kind.toLowerCase()}/${name}`, result: this.#put(document, namespace) });
    }
  }

  /** Annotations of pods that run already may change; everything else of them may not. */
  #annotating(document: SourceDocument, namespace: string | undefined): () => Applied {
    const { kind, name, root } = document;
    const pods = this.#podsOf(document, namespace);
    if (pods.length === 0) root.get('metadata').get('name').fail(`"${name}" does not run in this lab`, 'pods are made by orlop lab up; while it runs only their annotations can be changed');
    const template = kind === 'Pod' ? root : root.get('spec').get('template');
    const annotations = template.get('metadata').get('annotations').stringMap();
    return () => {
      const changed = pods.some((pod) => JSON.stringify(pod.annotations) !== JSON.stringify(annotations));
      for (const pod of pods) pod.annotations = annotations;
      return { object: `${kind.toLowerCase()}/${name}`, result: changed ? 'configured' : 'unchanged' };
    };
  }

  #podsOf({ kind, name, namespace: own }: SourceDocument, namespace: string | undefined): LabPod[] {
    const home = own ?? namespace ?? DEFAULT_NAMESPACE;
    return this.#world.pods.filter((pod) => pod.namespace === home && (kind === 'Pod' ? pod.name : pod.owner?.deployment) === name);
  }

  #removing(document: SourceDocument, namespace: string | undefined): () => Applied {
    const { kind, name } = document;
    const home = document.namespace ?? namespace ?? DEFAULT_NAMESPACE;
    const removed = { object: `${kind.toLowerCase()}/${name}`, result: 'deleted' as const };
    const missing = (): never => document.root.get('metadata').get('name').fail(`"${name}" is not in namespace ${home} of this lab`, 'name its namespace with --namespace');
    if (kind === 'Lab' || kind === 'Pod' || kind === 'Deployment') return document.root.fail('cannot be deleted while the lab runs', 'run orlop lab down, change the file, and bring it up again');
    if (kind === 'Service') {
      const index = this.#world.services.findIndex((service) => service.name === name && service.namespace === home);
      if (index === -1) return missing();
      return () => {
        this.#world.services.splice(index, 1);
        return removed;
      };
    }
    const object = this.#nameOf(document, namespace);
    if (!this.directory.has(object)) return missing();
    return () => {
      this.directory.remove(object);
      this.#hosts.delete(hostsKey(object));
      return removed;
    };
  }

  #nameOf(document: SourceDocument, namespace: string | undefined): ObjectName {
    const { name } = document;
    // Two groups have a kind Gateway.
    const kind = kindOf(document.kind, document.root.get('apiVersion').optionalString() ?? '').name;
    return CLUSTER_WIDE.has(kind) ? { kind, name } : { kind, name, namespace: document.namespace ?? namespace ?? DEFAULT_NAMESPACE };
  }

  #put(document: SourceDocument, namespace: string | undefined): 'created' | 'configured' | 'unchanged' {
    const object = this.#nameOf(document, namespace);
    if (object.namespace !== undefined) document.defaultNamespace(object.namespace);
    if (document.kind === 'ServiceEntry') {
      const spec = document.root.get('spec');
      const addresses = spec.get('addresses').strings().filter((address) => !address.includes('/'));
      this.#hosts.set(hostsKey(object), addresses.length === 0 ? [] : spec.get('hosts').strings().map((host) => ({ host, addresses })));
    }
    return this.directory.put(object, document.text);
  }
}

function hostsKey({ namespace, name }: ObjectName): string {
  return `${namespace ?? ''}/${name}`;
}
