/** Istio's own examples of what its API server accepts and refuses (see test/data/README.md), for the kinds that are honoured. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { renderProblem } from '../../src/mesh/problem.ts';
import { errors, snapshotOf } from './world.ts';

const DIRECTORY = join(import.meta.dirname, '../data/istio/validation');
const HONOURED = ['destinationrule', 'serviceentry', 'workloadentry', 'peerauth', 'reqauth', 'authz'];

interface Example {
  readonly name: string;
  readonly object: Record<string, unknown>;
  /** What Istio says about it; undefined when it accepts it. */
  readonly refused: string | undefined;
}

function examplesOf(file: string): Example[] {
  // In `[001:db8::]` YAML 1.2 reads the last colon as a key without value; Go's parser, which is one of YAML 1.1, as part of the text.
  const text = readFileSync(join(DIRECTORY, file), 'utf8').replace('001:db8::]', '"001:db8::"]');
  return parseAllDocuments(text).flatMap((document, i) => {
    const value = document.toJS() as Record<string, unknown> | null;
    if (value === null) return [];
    const { _err: refused, ...object } = value;
    return [{ name: `${file} ${i + 1} ${(object['metadata'] as { name: string }).name}`, object, refused: refused as string | undefined }];
  });
}

describe.each(HONOURED)('%s', (kind) => {
  it.each(examplesOf(`${kind}-valid.yaml`))('is accepted: $name', ({ object }) => {
    expect(errors(snapshotOf({ 'a.yaml': stringify(object) })).map(renderProblem)).toEqual([]);
  });

  it.each(examplesOf(`${kind}-invalid.yaml`))('is refused: $name ($refused)', ({ object, refused }) => {
    expect(refused).toBeDefined();
    const snapshot = snapshotOf({ 'a.yaml': stringify(object) });
    expect(errors(snapshot)).not.toEqual([]);
    expect([...snapshot.destinationRules, ...snapshot.serviceEntries, ...snapshot.workloadEntries, ...snapshot.peerAuthentications, ...snapshot.requestAuthentications, ...snapshot.authorizationPolicies]).toEqual([]);
  });
});

describe('kinds that are not honoured yet', () => {
  const others = readdirSync(DIRECTORY).filter((file) => file.endsWith('-valid.yaml') && !HONOURED.some((kind) => file.startsWith(kind)));

  it.each(others)('%s: each object is known, and told that it has no effect', (file) => {
    for (const { object, name } of examplesOf(file)) {
      const { problems } = snapshotOf({ 'a.yaml': stringify(object) });
      expect(problems.map(({ severity, code }) => `${severity} ${code}`), name).toEqual(['info ORLOP011']);
    }
  });
});
