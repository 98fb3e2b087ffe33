/**
 * Orlop on a real cluster, from nothing to nothing: installed, a namespace taken in while it is used, its traffic split, secured, measured, let go
 * again, and everything removed. A step says what it saw, and whether that is what should be.
 */
import { join } from 'node:path';
import { bars } from '../../../src/cli/demo-screen.ts';
import { near } from '../../../src/cli/shares.ts';
import { Cluster } from '../cluster/cluster.ts';
import { installOrlop, loadOrlop, uninstallOrlop } from '../orlop.ts';
import { bookinfoObjects, CHECKOUT } from './bookinfo.ts';
import { additions, differences, size, takeFingerprint } from './fingerprint.ts';
import type { Fingerprint } from './fingerprint.ts';
import { Prometheus } from './prometheus.ts';
import { BOOKINFO, Stage } from './stage.ts';
import type { Counts, Plan } from './stage.ts';

export interface Seen {
  readonly ok: boolean;
  /** What was observed, with its figures. */
  readonly lines: readonly string[];
  /** What that means, in a line. */
  readonly verdict: string;
}

export interface Step {
  readonly title: string;
  readonly play: () => Promise<Seen>;
}

const VISITOR = 'outside/visitor';
export const PODS = 7;
/** By which pods are captured without iptables; kinds of lines of a fingerprint. */
const CAPTURE = ['listeners', 'rules', 'routes', 'settings', 'BPF links'];

/** Bring a cluster up on which bookinfo runs, and nothing of Orlop but its image. */
export async function setScene(name: string, progress: (text: string) => void): Promise<Cluster> {
  const cluster = await Cluster.up({ name, nodes: 2, onProgress: progress });
  try {
    progress('Orlop\'s image');
    await loadOrlop(cluster);
    progress('bookinfo');
    await cluster.apply(bookinfoObjects());
    for (const namespace of [BOOKINFO, 'outside']) await cluster.kubectl(['wait', '--for=condition=Ready', 'pods', '--all', '-n', namespace, '--timeout=120s']);
    return cluster;
  } catch (error) {
    await cluster.down();
    throw error;
  }
}

/** The steps, to be played in their order. */
export function storyOf(cluster: Cluster): readonly Step[] {
  const stage = new Stage(cluster);
  let before: Fingerprint;

  return [
    {
      title: 'Bookinfo on two nodes, without a mesh',
      play: async () => {
        before = await takeFingerprint(cluster);
        const pods = await stage.podsByNode(BOOKINFO);
        const counts = await stage.load(90);
        return {
          ok: answered(counts) && [...pods.values()].every((names) => names.length > 0),
          lines: [...[...pods].map(([node, names]) => `${node}: ${names.map(withoutHash).join(' ')}`), ...bars(counts.versions, counts.requests)],
          verdict: `${counts.requests} requests spread over the versions of reviews; ${size(before)} lines of rules, routes, settings, programs, files and objects noted`,
        };
      },
    },
    {
      title: 'orlop install',
      play: async () => {
        const seconds = await timed(async () => installOrlop(cluster));
        const [enrolled, counts] = [await stage.enrolled(), await stage.load(30)];
        return {
          ok: enrolled === 0 && answered(counts), lines: [`an agent on each node and the control plane are ready after ${seconds} s`],
          verdict: 'nobody has asked for the mesh yet, and nobody is in it',
        };
      },
    },
    {
      title: `kubectl annotate namespace ${BOOKINFO} orlop.io/mesh=enabled, while requests are sent`,
      play: async () => {
        let seconds = '';
        const counts = await stage.loadWhile(async () => {
          seconds = await timed(async () => annotate('orlop.io/mesh=enabled', PODS));
        });
        const restarts = await stage.restarts();
        const changes = additions(before, await takeFingerprint(cluster));
        return {
          // What is to be gone at the end is seen now.
          ok: answered(counts) && restarts === 0 && CAPTURE.every((kind) => changes.has(kind)),
          lines: [`${PODS} running pods are in the mesh after ${seconds} s, kubectl included`, `requests meanwhile: ${tell(counts)}`, `what came to nodes, pods and cluster: ${[...changes].map(([kind, count]) => `${count} ${kind}`).join(', ')}`],
          verdict: `${restarts} restarts; ${failed(counts)} of ${counts.requests} requests failed meanwhile`,
        };
      },
    },
    {
      title: 'DestinationRule and VirtualService: everything to v1',
      play: async () => {
        await applyExamples('09-subset-policies.yaml', '01-route-to-subset.yaml');
        return split(200, { v1: 100 });
      },
    },
    ...[75, 50, 0].map((share) => ({
      title: `A canary: ${100 - share} % to v2`,
      play: async () => {
        await cluster.kubectl(['patch', '-n', BOOKINFO, 'virtualservice', 'reviews', '--type=merge', '--patch', JSON.stringify({ spec: { http: [{ route: weights(share) }] } })]);
        return split(400, { v1: share, v2: 100 - share });
      },
    })),
    {
      title: 'PeerAuthentication: STRICT',
      play: async () => {
        const outside = await stage.load(10, { from: VISITOR });
        await cluster.apply([{ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata: { name: 'default', namespace: BOOKINFO }, spec: { mtls: { mode: 'STRICT' } } }]);
        await stage.untilPlanned(({ mtls }) => [...mtls].join() === 'STRICT');
        const [within, after] = [await stage.load(100), await stage.load(10, { from: VISITOR })];
        return {
          ok: answered(outside) && answered(within) && after.errors['ECONNRESET'] === after.requests,
          lines: [`before, a pod outside the mesh: ${tell(outside)}`, `now, the client in the mesh: ${tell(within)}`, `now, the pod outside: ${tell(after)}`],
          verdict: 'an outsider is refused before a byte of it is read',
        };
      },
    },
    {
      title: 'Debian\'s Prometheus scrapes both nodes',
      play: async () => {
        const prometheus = await Prometheus.start(cluster);
        const [up, first] = [await targetsUp(prometheus), await requestsCounted(prometheus)];
        const { requests } = await stage.load(200);
        const counted = await cluster.until('Prometheus has counted them', async () => {
          const now = await requestsCounted(prometheus);
          const added = Object.fromEntries(Object.entries(now).map(([reporter, value]) => [reporter, value - (first[reporter] ?? 0)]));
          return (added['source'] ?? 0) >= requests && (added['destination'] ?? 0) >= requests && added;
        });
        await prometheus.stop();
        return {
          ok: up.length === cluster.nodes.length && counted['source'] === requests && counted['destination'] === requests,
          lines: [...up, `of ${requests} requests it counted ${counted['source']} as their client's node saw them, ${counted['destination']} as their server's did`],
          verdict: 'every request is counted once by each reporter, with Istio\'s labels',
        };
      },
    },
    {
      title: `kubectl annotate namespace ${BOOKINFO} orlop.io/mesh-, while requests are sent`,
      play: async () => {
        // Or else those that have left are outsiders to those that have not yet.
        await cluster.kubectl(['delete', '-n', BOOKINFO, 'peerauthentication', 'default']);
        await stage.untilPlanned(({ mtls }) => !mtls.has('STRICT'));
        let seconds = '';
        const counts = await stage.loadWhile(async () => {
          seconds = await timed(async () => annotate('orlop.io/mesh-', 0));
        });
        const [restarts, outside] = [await stage.restarts(), await stage.load(10, { from: VISITOR })];
        return {
          ok: answered(counts) && answered(outside) && restarts === 0,
          lines: ['the PeerAuthentication is withdrawn before', `all pods have left the mesh after ${seconds} s`, `requests meanwhile: ${tell(counts)}`, `the pod outside: ${tell(outside)}`],
          verdict: `${restarts} restarts; ${failed(counts)} of ${counts.requests} requests failed meanwhile`,
        };
      },
    },
    {
      title: 'orlop uninstall',
      play: async () => {
        let said = '';
        const seconds = await timed(async () => {
          said = await uninstallOrlop(cluster);
        });
        // Namespaces of deleted pods go a moment later.
        let left: string[] = [];
        await cluster.until('nothing is left', async () => {
          left = differences(before, await takeFingerprint(cluster));
          return left.length === 0;
        }, 20_000).catch(() => undefined);
        const counts = await stage.load(90);
        return {
          ok: left.length === 0 && answered(counts), lines: [`removed after ${seconds} s; it says of the nodes:`, ...said.split('\n').filter((line) => line.includes('node ')), ...left],
          verdict: left.length === 0 ? `as it was: not one of the ${size(before)} lines differs` : `${left.length} lines differ from what was`,
        };
      },
    },
  ];

  async function annotate(annotation: string, enrolled: number): Promise<void> {
    await cluster.kubectl(['annotate', 'namespace', BOOKINFO, annotation]);
    await cluster.until(`${enrolled} pods enrolled`, async () => await stage.enrolled() === enrolled);
  }

  async function applyExamples(...files: readonly string[]): Promise<void> {
    for (const file of files) await cluster.kubectl(['apply', '-n', BOOKINFO, '-f', join(CHECKOUT, 'lab/examples', file)]);
  }

  async function split(requests: number, percent: Plan['shares']): Promise<Seen> {
    const wanted = Object.entries(percent).filter(([, share]) => share > 0);
    const ms = await stage.untilPlanned(({ shares }) => Object.keys(shares).length === wanted.length && wanted.every(([version, share]) => shares[version] === share));
    const counts = await stage.load(requests);
    const asWanted = ['v1', 'v2', 'v3'].every((version) => near(counts.versions[version] ?? 0, requests, (percent[version] ?? 0) / 100));
    return {
      ok: answered(counts) && asWanted, lines: bars(counts.versions, requests),
      verdict: `${wanted.map(([version, share]) => `${share} % ${version}`).join(', ')} wanted; both agents knew ${(ms / 1000).toFixed(1)} s after kubectl`,
    };
  }

  async function targetsUp(prometheus: Prometheus): Promise<string[]> {
    return cluster.until('Prometheus has found the agents', async () => {
      const samples = await prometheus.query('up{pod=~"orlop-agent-.*"} == 1');
      return samples.length >= cluster.nodes.length && samples.map(({ labels }) => `${labels['node']}: ${labels['pod']} is up`).sort();
    });
  }

  /** Requests of the client to reviews, by who reports them, once Prometheus sees no more of them come. */
  async function requestsCounted(prometheus: Prometheus): Promise<Record<string, number>> {
    const samples = await prometheus.query('sum by (reporter) (istio_requests_total{source_workload="client",destination_service_name="reviews"})');
    return Object.fromEntries(samples.map(({ labels, value }) => [labels['reporter'] ?? '', value]));
  }
}

function weights(share: number): object[] {
  return [{ destination: { host: 'reviews', subset: 'v1' }, weight: share }, { destination: { host: 'reviews', subset: 'v2' }, weight: 100 - share }];
}

function failed({ requests, statuses }: Counts): number {
  return requests - (statuses['200'] ?? 0);
}

function answered(counts: Counts): boolean {
  return failed(counts) === 0;
}

function tell({ requests, statuses, errors }: Counts): string {
  const said = [...Object.entries(statuses).filter(([status]) => status !== '0'), ...Object.entries(errors)].map(([what, count]) => `${count} × ${what}`);
  return `${requests} requests, ${said.join(', ')}`;
}

function withoutHash(pod: string): string {
  return pod.replace(/-[0-9a-f]{6,10}-[0-9a-z]{5}$/, '');
}

async function timed(run: () => Promise<unknown>): Promise<string> {
  const started = performance.now();
  await run();
  return ((performance.now() - started) / 1000).toFixed(1);
}
