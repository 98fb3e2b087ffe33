/** What the admin socket says of the node's gateways: their ports, and where their certificates come from; never what those hold. */
import { json } from '../telemetry/http-endpoints.ts';
import type { Routes } from '../telemetry/http-endpoints.ts';
import type { GatewayCredentials } from './gateway-credentials.ts';
import type { Gateways } from './gateways.ts';

export interface GatewayRoutesOptions {
  readonly gateways: () => ReturnType<Gateways['states']>;
  readonly credentials: () => ReturnType<GatewayCredentials['states']>;
}

export function gatewayRoutes({ gateways, credentials }: GatewayRoutesOptions): Routes {
  return { '/gateways': () => json({ gateways: gateways(), credentials: credentials() }) };
}
