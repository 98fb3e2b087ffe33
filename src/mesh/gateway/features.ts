/**
 * What Orlop's gateways can do, in the Gateway API's words (GatewayClass status.supportedFeatures; sigs.k8s.io/gateway-api/pkg/features, v1.6), as far as
 * the definitions that are installed can express it.
 */

/** In order, as the status has them. */
const FEATURES: readonly string[] = [
  'BackendTLSPolicy',
  'BackendTLSPolicySANValidation',
  'GRPCRoute',
  'GRPCRouteNamedRouteRule',
  'Gateway',
  'GatewayBackendClientCertificate',
  'GatewayFrontendClientCertificateValidation',
  'GatewayFrontendClientCertificateValidationInsecureFallback',
  'GatewayHTTPListenerIsolation',
  'GatewayHTTPSListenerDetectMisdirectedRequests',
  'GatewayPort8080',
  'HTTPRoute',
  'HTTPRoute303RedirectStatusCode',
  'HTTPRoute307RedirectStatusCode',
  'HTTPRoute308RedirectStatusCode',
  'HTTPRouteBackendProtocolH2C',
  'HTTPRouteBackendProtocolWebSocket',
  'HTTPRouteBackendRequestHeaderModification',
  'HTTPRouteBackendTimeout',
  'HTTPRouteCORS',
  'HTTPRouteHostRewrite',
  'HTTPRouteMethodMatching',
  'HTTPRouteNamedRouteRule',
  'HTTPRouteParentRefPort',
  'HTTPRoutePathRedirect',
  'HTTPRoutePathRewrite',
  'HTTPRoutePortRedirect',
  'HTTPRouteQueryParamMatching',
  'HTTPRouteRequestMirror',
  'HTTPRouteRequestMultipleMirrors',
  'HTTPRouteRequestPercentageMirror',
  'HTTPRouteRequestTimeout',
  'HTTPRouteResponseHeaderModification',
  'HTTPRouteRetry',
  'HTTPRouteRetryBackendTimeout',
  'HTTPRouteRetryConnectionError',
  'HTTPRouteSchemeRedirect',
  'ListenerSet',
  'ReferenceGrant',
  'TCPRoute',
  'TLSRoute',
  'TLSRouteModeMixed',
  'TLSRouteModeTerminate',
];

/** Each begins with the kind that it is of. */
const KINDS = ['BackendTLSPolicy', 'GRPCRoute', 'Gateway', 'HTTPRoute', 'ListenerSet', 'ReferenceGrant', 'TCPRoute', 'TLSRoute'] as const;

/** Their field is in the definitions of the experimental channel alone (v1.6.3); with the others an API server drops it. */
const EXPERIMENTAL: ReadonlySet<string> = new Set(['HTTPRouteRetry', 'HTTPRouteRetryBackendTimeout', 'HTTPRouteRetryConnectionError']);

/** Which of the two a definition of the Gateway API project is of. Orlop's own name none, and have every field that is honoured. */
const CHANNEL = 'gateway.networking.k8s.io/channel';

/** `annotations`: of the definition of a kind; undefined where it is not installed. */
export function supportedFeatures(annotations: (kind: string) => Readonly<Record<string, string>> | undefined): string[] {
  return FEATURES.filter((feature) => {
    const installed = annotations(KINDS.find((kind) => feature.startsWith(kind)) ?? '');
    return installed !== undefined && !(installed[CHANNEL] === 'standard' && EXPERIMENTAL.has(feature));
  });
}
