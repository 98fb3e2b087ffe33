/** What a run measures and for how long, from the command line. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const PEERS = ['direct', 'nginx', 'haproxy', 'envoy', 'bare', 'orlop'] as const;
export const CASES = ['memory', 'keepalive', 'connections', 'upload', 'download', 'latency', 'routes', 'pods'] as const;

export type PeerName = (typeof PEERS)[number];
type CaseName = (typeof CASES)[number];

export const USAGE = `Measures Orlop against its peers on this machine, side by side in one run.

  bench/run.ts [--only PEER,…] [--cases CASE,…] [--quick] [--redirect auto|ebpf|iptables] [--profile DIR] [--out DIR]

  --only      of ${PEERS.join(', ')}
  --cases     of ${CASES.join(', ')}
  --quick     fewer and shorter rounds: under two minutes instead of eight, and noisier
  --redirect  how Orlop captures (default ebpf)
  --profile   the agents leave V8 CPU profiles there (read them with bench/profile.ts); the figures are then higher
  --out       where the JSON goes (default bench/out)
`;

export interface Plan {
  readonly peers: readonly PeerName[];
  readonly cases: readonly CaseName[];
  readonly quick: boolean;
  readonly redirect: string;
  readonly profileDir: string | undefined;
  readonly out: string;
  readonly rounds: number;
  /** For the cases that vary less from round to round. */
  readonly fewerRounds: number;
  readonly seconds: number;
  readonly bulkGib: number;
  readonly latencySeconds: number;
}

/** Reads the arguments. Throws a sentence for the user when they make no sense. */
export function parsePlan(args: readonly string[], defaultOut: string): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      cases: { type: 'string' },
      quick: { type: 'boolean', default: false },
      redirect: { type: 'string', default: 'ebpf' },
      profile: { type: 'string' },
      out: { type: 'string', default: defaultOut },
    },
  });
  if (!['auto', 'ebpf', 'iptables'].includes(values.redirect)) throw new Error(`--redirect ${values.redirect}: use auto, ebpf or iptables`);
  return {
    peers: chosen('--only', values.only, PEERS),
    cases: chosen('--cases', values.cases, CASES),
    quick: values.quick,
    redirect: values.redirect,
    profileDir: values.profile === undefined ? undefined : resolve(values.profile),
    out: values.out,
    ...(values.quick
      ? { rounds: 2, fewerRounds: 1, seconds: 1, bulkGib: 1, latencySeconds: 1 }
      : { rounds: 5, fewerRounds: 3, seconds: 3, bulkGib: 2, latencySeconds: 4 }),
  };
}

function chosen<T extends string>(option: string, list: string | undefined, all: readonly T[]): readonly T[] {
  if (list === undefined) return all;
  const names = list.split(',');
  const unknown = names.find((name) => !all.includes(name as T));
  if (unknown !== undefined) throw new Error(`${option}: ${unknown} is not one of ${all.join(', ')}`);
  return all.filter((name) => names.includes(name));
}
