/** Who this process is, as every sample application says it; from the environment that the lab file sets. */
import { hostname } from 'node:os';

export interface Identity {
  app: string;
  version: string;
  pod: string;
  namespace: string;
  node: string;
}

export function whoAmI(): Identity {
  const { APP = 'app', VERSION = 'v1', POD_NAME = hostname(), POD_NAMESPACE = '', NODE_NAME = '' } = process.env;
  return { app: APP, version: VERSION, pod: POD_NAME, namespace: POD_NAMESPACE, node: NODE_NAME };
}
