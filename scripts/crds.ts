/**
 * Writes deploy/crds/ anew from the schemas of src/mesh. A test fails when the files are not what this makes.
 *   node scripts/crds.ts
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { customResourceDefinitions } from '../src/mesh/crd.ts';
import type { Crd } from '../src/mesh/crd.ts';

const DIRECTORY = join(import.meta.dirname, '../deploy/crds');

/** Text of each file, by its name. */
export function crdFiles(): Map<string, string> {
  const crds = customResourceDefinitions();
  const files = crds.map((crd): [string, string] => [`${crd.metadata.name}.yaml`, yamlOf(crd)]);
  return new Map([...files, ['kustomization.yaml', kustomization(files.map(([name]) => name))]]);
}

/** Parts of a schema that occur twice are written twice, for the reader; whole versions are the same by reference. */
function yamlOf(crd: Crd): string {
  const { versions, ...spec } = crd.spec as { versions: readonly { schema: object }[] };
  const schema = JSON.parse(JSON.stringify(versions[0]?.schema)) as object;
  const plain = { ...crd, spec: { ...spec, versions: versions.map((version) => ({ ...(JSON.parse(JSON.stringify(version)) as object), schema })) } };
  return `# Made by scripts/crds.ts from src/mesh.\n${stringify(plain, { lineWidth: 160, aliasDuplicateObjects: true, anchorPrefix: 'schema' })}`;
}

function kustomization(names: readonly string[]): string {
  const head = '# For clusters without the definitions of Istio and of the Gateway API: kubectl apply -k deploy/crds\n# (where they are installed, leave them: orlop install adds only what is missing)\n';
  return `# Made by scripts/crds.ts.\n${head}${stringify({ apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', resources: names })}`;
}

if (import.meta.main) for (const [name, text] of crdFiles()) writeFileSync(join(DIRECTORY, name), text);
