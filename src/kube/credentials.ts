/**
 * How an API server is reached, and by what it knows us: the service account of this pod, or a kubeconfig. Read anew for each request, as
 * Kubernetes replaces tokens and certificates.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { hostPort } from '../core/address.ts';

export interface Credentials {
  /** `https://10.96.0.1:443` */
  readonly server: URL;
  present(): Promise<Presented>;
}

/** What is shown with a request. */
export interface Presented {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsFiles;
}

export interface TlsFiles {
  readonly ca?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly servername?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Has this process been given a service account? */
export function inCluster(environment: NodeJS.ProcessEnv = process.env, directory = SERVICE_ACCOUNT): boolean {
  return environment['KUBERNETES_SERVICE_HOST'] !== undefined && existsSync(join(directory, 'token'));
}

/**
 * Those of the pod's service account. The client library is not used for them: it takes 80 MiB and 0.7 s to load, on each node, for what two
 * files and two variables say.
 */
export function serviceAccountCredentials(environment: NodeJS.ProcessEnv = process.env, directory = SERVICE_ACCOUNT): Credentials {
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' } = environment;
  return {
    server: new URL(`https://${hostPort(host, Number(port))}`),
    present: async () => ({
      headers: { authorization: `Bearer ${readFileSync(join(directory, 'token'), 'utf8').trim()}` },
      tls: { ca: readFileSync(join(directory, 'ca.crt')) },
    }),
  };
}

/**
 * Those of a context of a kubeconfig (the current one unless named), whichever way it authenticates. Without `path`, the files that kubectl would
 * take: those of the variable KUBECONFIG, or ~/.kube/config. Rejects with a sentence when they are no good.
 */
export async function kubeconfigCredentials(path: string | undefined, context?: string): Promise<Credentials> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  const called = path === undefined ? 'the kubeconfig' : `the kubeconfig ${path}`;
  // The library would take a server on this machine for granted.
  if (path === undefined && process.env['KUBECONFIG'] === undefined && !existsSync(join(homedir(), '.kube/config'))) throw new Error('there is no kubeconfig: neither the variable KUBECONFIG nor ~/.kube/config; name one with --kubeconfig');
  try {
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
  } catch (error) {
    throw new Error(`${called} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  if (context !== undefined) {
    if (config.getContextObject(context) === null) throw new Error(`${called} has no context ${context}; it has: ${config.getContexts().map(({ name }) => name).join(', ')}`);
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`${called} has no current context with a cluster; set one with: kubectl config use-context NAME`);
  return {
    server: new URL(cluster.server),
    present: async () => {
      const options: Parameters<typeof config.applyToHTTPSOptions>[0] = {};
      await config.applyToHTTPSOptions(options);
      const { ca, cert, key, servername, rejectUnauthorized, auth } = options as TlsFiles & { auth?: string };
      const basic = auth === undefined ? {} : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` };
      return { headers: { ...basic, ...(options.headers as Record<string, string> | undefined) }, tls: { ca, cert, key, servername, rejectUnauthorized } };
    },
  };
}
