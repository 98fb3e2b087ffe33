/**
 * A process that asks on a workload socket, for tests that need one in another network namespace. It prints a JSON line for
 * each thing it is told: the secrets it fetches, then its identities, again and again. Arguments: the socket, then names of secrets.
 */
import { X509Certificate } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { ServiceError } from '@grpc/grpc-js';
import type { X509SvidResponse } from '../../src/certs/workload-api/protocol.ts';
import { SecretClient, secretsOf, WorkloadClient } from '../certs/grpc-client.ts';

const [path = '', ...names] = process.argv.slice(2);

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

using secrets = new SecretClient(path);
using workload = new WorkloadClient(path);
try {
  const { resources } = await secrets.fetch(names);
  for (const [name, { tlsCertificate }] of Object.entries(secretsOf(resources))) {
    print({ secret: name, san: tlsCertificate && new X509Certificate(Buffer.from(tlsCertificate.certificateChain.inlineBytes)).subjectAltName });
  }
} catch (error) {
  print({ code: (error as ServiceError).code, details: (error as ServiceError).details });
}
// Like any client of the Workload API it tries again, on the connection it has for as long as that lasts.
let last = '';
for (;;) {
  const identities = workload.follow<X509SvidResponse>('FetchX509SVID');
  try {
    for (;;) printChange({ ids: (await identities.next()).svids.map(({ spiffeId }) => spiffeId) });
  } catch (error) {
    printChange({ code: (error as ServiceError).code, details: (error as ServiceError).details });
  }
  await setTimeout(100);
}

function printChange(line: object): void {
  if (JSON.stringify(line) === last) return;
  last = JSON.stringify(line);
  print(line);
}
