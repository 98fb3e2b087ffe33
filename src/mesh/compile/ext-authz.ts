/** External authorizers of MeshConfig.extensionProviders, with Istio's defaults filled in. */
import { EXT_AUTHZ_TIMEOUT_MS } from '../../core/limits.ts';
import { durationMs } from '../duration.ts';
import type { ExtAuthzProvider } from '../security.ts';
import type { ExtAuthzSpec, ExtensionProvider } from '../security-resources.ts';
import type { ClusterSpec } from '../table.ts';

/** By name. `clusters` are those of the workload that is to ask them. */
export function extAuthzProvidersOf(providers: readonly ExtensionProvider[], clusters: ReadonlyMap<string, ClusterSpec>): Map<string, ExtAuthzProvider> {
  const found = new Map<string, ExtAuthzProvider>();
  for (const { name, envoyExtAuthzHttp, envoyExtAuthzGrpc } of providers) {
    if (envoyExtAuthzHttp !== undefined) found.set(name, providerOf(name, 'http', envoyExtAuthzHttp, clusters));
    else if (envoyExtAuthzGrpc !== undefined) found.set(name, providerOf(name, 'grpc', envoyExtAuthzGrpc, clusters));
  }
  return found;
}

/** Other providers are of traces, metrics and logs. */
export function isExtAuthz({ envoyExtAuthzHttp, envoyExtAuthzGrpc }: ExtensionProvider): boolean {
  return envoyExtAuthzHttp !== undefined || envoyExtAuthzGrpc !== undefined;
}

function providerOf(name: string, kind: 'http' | 'grpc', spec: ExtAuthzSpec, clusters: ReadonlyMap<string, ClusterSpec>): ExtAuthzProvider {
  const [namespace, host] = spec.service.includes('/') ? (spec.service.split('/', 2) as [string, string]) : ['', spec.service];
  const key = `outbound|${spec.port}||${host.toLowerCase()}`;
  const cluster = clusters.get(key);
  const body = spec.includeRequestBodyInCheck;
  return Object.freeze({
    name,
    kind,
    service: spec.service,
    port: spec.port,
    cluster: cluster !== undefined && (namespace === '' || cluster.service.namespace === namespace) ? key : undefined,
    timeoutMs: durationMs(spec.timeout, EXT_AUTHZ_TIMEOUT_MS),
    failOpen: spec.failOpen ?? false,
    clearRouteCache: spec.clearRouteCache ?? false,
    statusOnError: Number(spec.statusOnError ?? 403),
    includeRequestBodyInCheck: body === undefined ? undefined : { maxRequestBytes: body.maxRequestBytes ?? 0, allowPartialMessage: body.allowPartialMessage ?? false, packAsBytes: body.packAsBytes ?? false },
    pathPrefix: spec.pathPrefix ?? '',
    includeRequestHeadersInCheck: lower([...(spec.includeRequestHeadersInCheck ?? []), ...(spec.includeHeadersInCheck ?? [])]),
    includeAdditionalHeadersInCheck: Object.entries(spec.includeAdditionalHeadersInCheck ?? {}).map(([header, value]) => ({ name: header.toLowerCase(), value })),
    headersToUpstreamOnAllow: lower(spec.headersToUpstreamOnAllow ?? []),
    headersToDownstreamOnDeny: lower(spec.headersToDownstreamOnDeny ?? []),
    headersToDownstreamOnAllow: lower(spec.headersToDownstreamOnAllow ?? []),
  });
}

function lower(names: readonly string[]): string[] {
  return names.map((name) => name.toLowerCase());
}
