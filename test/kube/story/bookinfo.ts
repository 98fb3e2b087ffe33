/** Bookinfo of lab/bookinfo.yaml as Deployments that a real cluster runs: by the Node of Orlop's image, with the programs of this checkout. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export const CHECKOUT = join(import.meta.dirname, '../../..');
/** The image is there already, and has a Node. */
export const NODE_IMAGE = 'docker.io/library/orlop:dev';
const NODE = '/usr/bin/node';

interface Container {
  command?: string[];
}

interface PodSpec {
  containers: Container[];
}

interface Manifest {
  kind: string;
  metadata: { name: string; annotations?: Record<string, string> };
  spec?: { template?: { spec: PodSpec }; containers?: Container[] };
}

/** The objects, in the order to create them. Nobody is in the mesh yet: that the namespace is annotated is for the story to tell. */
export function bookinfoObjects(): object[] {
  const documents = parseAllDocuments(readFileSync(join(CHECKOUT, 'lab/bookinfo.yaml'), 'utf8')).map((document) => document.toJS() as Manifest);
  return documents.filter(({ kind }) => kind !== 'Lab').map((object) => {
    delete object.metadata.annotations;
    if (object.kind === 'Pod') return { ...object, spec: onCluster(object.spec as PodSpec) };
    const template = object.spec?.template;
    return template === undefined ? object : { ...object, spec: { ...object.spec, template: { ...template, spec: onCluster(template.spec) } } };
  });
}

/** In the lab a pod sees the machine's files; here it is given the checkout, to read. */
function onCluster(spec: PodSpec): object {
  return {
    ...spec,
    terminationGracePeriodSeconds: 1,
    // The checkout may be in a home that is its owner's alone.
    securityContext: { runAsUser: 0, runAsGroup: 0 },
    containers: spec.containers.map((container) => ({
      ...container, image: NODE_IMAGE, imagePullPolicy: 'Never', command: commandOf(container), workingDir: CHECKOUT,
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: ['DAC_READ_SEARCH'] } },
      volumeMounts: [{ name: 'checkout', mountPath: CHECKOUT, readOnly: true }],
    })),
    volumes: [{ name: 'checkout', hostPath: { path: CHECKOUT, type: 'Directory' } }],
  };
}

/** The image has no sleep(1). */
function commandOf({ command = [] }: Container): string[] {
  return command[0] === 'sleep' ? [NODE, '--eval', 'setInterval(() => {}, 2 ** 30)'] : [NODE, ...command.slice(1)];
}
