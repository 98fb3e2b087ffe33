/** What a run measures and for how long, from the command line. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const PEERS = ['direct', 'nginx', 'haproxy', 'envoy', 'bare', 'orlop'] as const;
/** Two proxies, one at each end of mutual TLS, and what is measured of them. */
export const PAIRS = ['nginx-mtls', 'haproxy-mtls', 'envoy-mtls', 'envoy-hbone', 'orlop-mtls'] as const;
const SINGLE_CASES = ['memory', 'keepalive', 'connections', 'upload', 'download', 'latency', 'routes', 'pods'] as const;
const PAIR_CASES = ['mtls', 'mtls-connections', 'mtls-upload', 'mtls-download'] as const;
export const CASES = [...SINGLE_CASES, ...PAIR_CASES] as const;

export type PeerName = (typeof PEERS)[number];
export type PairName = (typeof PAIRS)[number];
type CaseName = (typeof CASES)[number];

export const USAGE = `Measures Orlop against its peers on this machine, side by side in one run.

  bench/run.ts [--only PEER,…] [--cases CASE,…] [--quick] [--redirect auto|ebpf|iptables] [--profile DIR] [--out DIR]

  --only      of ${PEERS.join(', ')};
              of ${PAIRS.join(', ')}, which are pairs
  --cases     of ${SINGLE_CASES.join(', ')};
              of ${PAIR_CASES.join(', ')}, which pairs are measured by
  --quick     fewer and shorter rounds, a quarter of the time, and noisier
  --redirect  how Orlop captures (default ebpf)
  --profile   the agents leave V8 CPU profiles there (read them with bench/profile.ts); the figures are then higher
  --out       where the JSON goes (default bench/out)
`;

export interface Plan {
  /** Empty when no case is about them. */
  readonly peers: readonly PeerName[];
  readonly pairs: readonly PairName[];
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
  const only = chosen('--only', values.only, [...PEERS, ...PAIRS]);
  const cases = chosen('--cases', values.cases, CASES);
  const peers = SINGLE_CASES.some((name) => cases.includes(name)) ? PEERS.filter((name) => only.includes(name)) : [];
  const pairs = PAIR_CASES.some((name) => cases.includes(name)) ? PAIRS.filter((name) => only.includes(name)) : [];
  if (peers.length + pairs.length === 0) throw new Error(`none of --only ${only.join(',')} is measured by --cases ${cases.join(',')}`);
  return {
    peers,
    pairs,
    cases,
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
