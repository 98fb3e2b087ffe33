/** The resources of the Gateway API (gateway.networking.k8s.io, v1.6) as they stand in a snapshot: validated, otherwise as they were written. */
import type { Resource } from '../resources.ts';

/** What the API's resources of a moment are, each kind oldest first. */
export interface GatewayResources {
  readonly classes: readonly Resource<GatewayClassSpec>[];
  readonly gateways: readonly Resource<GatewaySpec>[];
  readonly listenerSets: readonly Resource<ListenerSetSpec>[];
  readonly routes: readonly GatewayRoute[];
  readonly referenceGrants: readonly Resource<ReferenceGrantSpec>[];
  readonly backendTlsPolicies: readonly Resource<BackendTlsPolicySpec>[];
}

export type GatewayRoute = HttpRouteResource | GrpcRouteResource | TlsRouteResource | TcpRouteResource;
export type RouteKind = GatewayRoute['kind'];

interface RouteResource<K extends string, S> extends Resource<S> {
  readonly kind: K;
}

export type HttpRouteResource = RouteResource<'HTTPRoute', HttpRouteSpec>;
export type GrpcRouteResource = RouteResource<'GRPCRoute', GrpcRouteSpec>;
export type TlsRouteResource = RouteResource<'TLSRoute', L4RouteSpec>;
export type TcpRouteResource = RouteResource<'TCPRoute', L4RouteSpec>;

/** Order in which kinds claim a port of a Service that several are attached to: the one that sees most of a request first (GEP-1426). */
export const ROUTE_KINDS: readonly RouteKind[] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';

/** What GatewayClasses name to be served by Orlop. */
export const CONTROLLER_NAME = 'orlop.io/gateway-controller';

export interface GatewayClassSpec {
  readonly controllerName: string;
  readonly parametersRef?: { readonly group: string; readonly kind: string; readonly name: string; readonly namespace?: string };
  readonly description?: string;
}

export interface GatewaySpec {
  readonly gatewayClassName: string;
  readonly listeners: readonly ListenerSpec[];
  readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
  readonly infrastructure?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly parametersRef?: { readonly group: string; readonly kind: string; readonly name: string };
  };
  readonly allowedListeners?: { readonly namespaces?: NamespaceChoice };
  readonly tls?: {
    readonly backend?: { readonly clientCertificateRef?: SecretObjectReference };
    readonly frontend?: { readonly default: FrontendTls; readonly perPort?: readonly { readonly port: number; readonly tls: FrontendTls }[] };
  };
}

export interface FrontendTls {
  readonly validation?: { readonly caCertificateRefs: readonly ObjectReference[]; readonly mode?: 'AllowValidOnly' | 'AllowInsecureFallback' };
}

export interface ListenerSetSpec {
  readonly parentRef: { readonly group?: string; readonly kind?: string; readonly name: string; readonly namespace?: string };
  readonly listeners: readonly ListenerSpec[];
}

export interface ListenerSpec {
  readonly name: string;
  readonly hostname?: string;
  readonly port: number;
  readonly protocol: string;
  readonly tls?: { readonly mode?: 'Terminate' | 'Passthrough'; readonly certificateRefs?: readonly SecretObjectReference[]; readonly options?: Readonly<Record<string, string>> };
  readonly allowedRoutes?: { readonly namespaces?: NamespaceChoice; readonly kinds?: readonly { readonly group?: string; readonly kind: string }[] };
}

export interface NamespaceChoice {
  readonly from?: 'All' | 'Selector' | 'Same' | 'None';
  readonly selector?: LabelSelector;
}

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[];
}

export interface SecretObjectReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface ObjectReference {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface ParentReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
  readonly sectionName?: string;
  readonly port?: number;
}

export interface BackendReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
  readonly port?: number;
}

export interface WeightedBackend extends BackendReference {
  readonly weight?: number;
}

export interface FilteredBackend extends WeightedBackend {
  readonly filters?: readonly RouteFilter[];
}

interface CommonRouteSpec {
  readonly parentRefs?: readonly ParentReference[];
}

export interface HttpRouteSpec extends CommonRouteSpec {
  readonly hostnames?: readonly string[];
  readonly rules?: readonly HttpRouteRule[];
}

export interface HttpRouteRule {
  readonly name?: string;
  readonly matches?: readonly HttpRouteMatch[];
  readonly filters?: readonly RouteFilter[];
  readonly backendRefs?: readonly FilteredBackend[];
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
  readonly retry?: { readonly codes?: readonly number[]; readonly attempts?: number; readonly backoff?: string };
}

export interface HttpRouteMatch {
  readonly path?: { readonly type?: 'Exact' | 'PathPrefix' | 'RegularExpression'; readonly value?: string };
  readonly headers?: readonly NamedMatch[];
  readonly queryParams?: readonly NamedMatch[];
  readonly method?: string;
}

/** Of a header or a query parameter. */
export interface NamedMatch {
  readonly type?: 'Exact' | 'RegularExpression';
  readonly name: string;
  readonly value: string;
}

export interface RouteFilter {
  readonly type: string;
  readonly requestHeaderModifier?: HeaderFilter;
  readonly responseHeaderModifier?: HeaderFilter;
  readonly requestMirror?: MirrorFilter;
  readonly requestRedirect?: RedirectFilter;
  readonly urlRewrite?: { readonly hostname?: string; readonly path?: PathModifier };
  readonly cors?: CorsFilter;
}

export interface HeaderFilter {
  readonly set?: readonly { readonly name: string; readonly value: string }[];
  readonly add?: readonly { readonly name: string; readonly value: string }[];
  readonly remove?: readonly string[];
}

export interface MirrorFilter {
  readonly backendRef: BackendReference;
  readonly percent?: number;
  readonly fraction?: { readonly numerator: number; readonly denominator?: number };
}

export interface RedirectFilter {
  readonly scheme?: string;
  readonly hostname?: string;
  readonly path?: PathModifier;
  readonly port?: number;
  readonly statusCode?: number;
}

export interface PathModifier {
  readonly type: 'ReplaceFullPath' | 'ReplacePrefixMatch';
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}

export interface CorsFilter {
  readonly allowOrigins?: readonly string[];
  readonly allowMethods?: readonly string[];
  readonly allowHeaders?: readonly string[];
  readonly exposeHeaders?: readonly string[];
  readonly maxAge?: number;
  readonly allowCredentials?: boolean;
}

export interface GrpcRouteSpec extends CommonRouteSpec {
  readonly hostnames?: readonly string[];
  readonly rules?: readonly GrpcRouteRule[];
}

export interface GrpcRouteRule {
  readonly name?: string;
  readonly matches?: readonly GrpcRouteMatch[];
  readonly filters?: readonly RouteFilter[];
  readonly backendRefs?: readonly FilteredBackend[];
}

export interface GrpcRouteMatch {
  readonly method?: { readonly type?: 'Exact' | 'RegularExpression'; readonly service?: string; readonly method?: string };
  readonly headers?: readonly NamedMatch[];
}

/** Of TLSRoute, which has hostnames, and TCPRoute, which has none. */
export interface L4RouteSpec extends CommonRouteSpec {
  readonly hostnames?: readonly string[];
  readonly rules: readonly { readonly name?: string; readonly backendRefs: readonly WeightedBackend[] }[];
}

export interface ReferenceGrantSpec {
  readonly from: readonly { readonly group: string; readonly kind: string; readonly namespace: string }[];
  readonly to: readonly { readonly group: string; readonly kind: string; readonly name?: string }[];
}

export interface BackendTlsPolicySpec {
  readonly targetRefs: readonly { readonly group: string; readonly kind: string; readonly name: string; readonly sectionName?: string }[];
  readonly validation: {
    readonly hostname: string;
    readonly caCertificateRefs?: readonly { readonly group: string; readonly kind: string; readonly name: string }[];
    readonly wellKnownCACertificates?: string;
    readonly subjectAltNames?: readonly { readonly type: 'Hostname' | 'URI'; readonly hostname?: string; readonly uri?: string }[];
  };
}
