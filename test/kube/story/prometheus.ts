/** Debian's Prometheus as a pod. It is built without discovery by Kubernetes, so that it is given the pods that ask to be scraped by their annotations. */
import { stringify } from 'yaml';
import type { Cluster } from '../cluster/cluster.ts';
import { NODE_IMAGE } from './bookinfo.ts';

const NAMESPACE = 'monitoring';
const PORT = 9090;
/** On the machine, put there by `make setup`; its libraries are those of the image. */
const PROGRAM = '/usr/bin/prometheus';
const ANNOTATION = 'prometheus.io';

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Pods {
  items: { metadata: { name: string; annotations?: Record<string, string> }; spec: { nodeName: string }; status: { podIP: string } }[];
}

export class Prometheus {
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Start it, for the pods that are there now. */
  static async start(cluster: Cluster): Promise<Prometheus> {
    const jobs = await jobsOf(cluster);
    await cluster.apply(objects(stringify({ global: { scrape_interval: '1s', scrape_timeout: '1s' }, scrape_configs: jobs })));
    await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/prometheus', '-n', NAMESPACE, '--timeout=60s']);
    return new Prometheus(cluster);
  }

  /** Ask it, in its own language, for what is so now. */
  async query(expression: string): Promise<Sample[]> {
    const path = `/api/v1/namespaces/${NAMESPACE}/pods/prometheus:${PORT}/proxy/api/v1/query?query=${encodeURIComponent(expression)}`;
    const answer = JSON.parse(await this.#cluster.kubectl(['get', '--raw', path])) as { data: { result: { metric: Record<string, string>; value: [number, string] }[] } };
    return answer.data.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
  }

  async stop(): Promise<void> {
    await this.#cluster.kubectl(['delete', 'namespace', NAMESPACE, '--timeout=60s']);
  }
}

async function jobsOf(cluster: Cluster): Promise<object[]> {
  const { items } = JSON.parse(await cluster.kubectl(['get', 'pods', '--all-namespaces', '-o', 'json'])) as Pods;
  return items.filter(({ metadata }) => metadata.annotations?.[`${ANNOTATION}/scrape`] === 'true').map(({ metadata: { name, annotations = {} }, spec, status }) => ({
    job_name: name,
    metrics_path: annotations[`${ANNOTATION}/path`] ?? '/metrics',
    static_configs: [{ targets: [`${status.podIP}:${annotations[`${ANNOTATION}/port`] ?? 80}`], labels: { pod: name, node: spec.nodeName } }],
  }));
}

function objects(config: string): object[] {
  const metadata = { name: 'prometheus', namespace: NAMESPACE };
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'prometheus.yml': config } },
    {
      apiVersion: 'v1', kind: 'Pod', metadata,
      spec: {
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        containers: [{
          name: 'prometheus', image: NODE_IMAGE, imagePullPolicy: 'Never',
          command: [PROGRAM, '--config.file=/etc/prometheus/prometheus.yml', '--storage.tsdb.path=/data', `--web.listen-address=:${PORT}`],
          volumeMounts: [{ name: 'program', mountPath: PROGRAM, readOnly: true }, { name: 'config', mountPath: '/etc/prometheus' }, { name: 'data', mountPath: '/data' }],
          readinessProbe: { httpGet: { path: '/-/ready', port: PORT }, periodSeconds: 1 },
        }],
        volumes: [
          { name: 'program', hostPath: { path: PROGRAM, type: 'File' } },
          { name: 'config', configMap: { name: 'prometheus' } },
          { name: 'data', emptyDir: {} },
        ],
      },
    },
  ];
}
