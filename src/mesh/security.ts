/**
 * What a workload demands of whoever calls it, compiled: mutual TLS by port, tokens, and who may do what. Part of a table
 * ({@link Table.security}); frozen, and only read.
 *
 *   connection → mtls (STRICT and plaintext: reset) → CUSTOM (ask a provider) → tokens → AUDIT, DENY, ALLOW
 */
import type { RequestView } from './match.ts';
import type { PathNormalization } from './path.ts';

export interface InboundSecurity {
  readonly mtls: Mtls;
  /** Of all RequestAuthentications that select the workload, by issuer. Empty: tokens are not looked at. */
  readonly jwtRules: readonly JwtRule[];
  readonly authorization: AuthorizationPolicies;
  /** What the kubelet asks of the workload: the only plaintext that passes STRICT, and only from the node's own addresses. */
  readonly probes: readonly Probe[];
  /** Proxies in front of the mesh whose X-Forwarded-For is believed; 0 = none. */
  readonly trustedProxies: number;
  /** How paths are written before policies see them. */
  readonly pathNormalization: PathNormalization;
}

export type MtlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';

export interface Mtls {
  readonly default: MtlsMode;
  /** What set the default: `PeerAuthentication istio-system/default`, or `Istio's default`. */
  readonly defaultOrigin: string;
  /** By port of the container, where it is not the default. */
  readonly ports: ReadonlyMap<number, MtlsMode>;
  readonly portOrigins: ReadonlyMap<number, string>;
}

/** A probe of a container. `grpc` is the standard health service over plaintext HTTP/2. */
export interface Probe {
  readonly kind: 'http' | 'tcp' | 'grpc';
  readonly port: number;
  /** Path with its query, of an `http` probe; empty otherwise. */
  readonly path: string;
}

/** Istio's JWTRule, defaults filled in. */
export interface JwtRule {
  /** `RequestAuthentication shop/jwt jwtRules[0]` */
  readonly origin: string;
  /** Empty: any issuer whose key signs. */
  readonly issuer: string;
  /** Empty: `aud` is not checked; otherwise one of them must be among it. */
  readonly audiences: readonly string[];
  /** Key set given inline (JSON text). */
  readonly jwks: string | undefined;
  /** Where the key set is fetched. With neither, it is found by OIDC discovery under the issuer. */
  readonly jwksUri: string | undefined;
  /** Lower-case names. `prefix` must be there, and is cut off. */
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  /** Header (lower case) that carries the payload in base64url to the application; empty = none. */
  readonly outputPayloadToHeader: string;
  /** False: the token is taken out of the request. */
  readonly forwardOriginalToken: boolean;
  /** `claim` may be nested (`a.b`). A header whose claim is absent is removed, so that no client can forge it. */
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: string }[];
  /** For fetching the key set. */
  readonly timeoutMs: number;
  /** Claims whose text is a list separated by spaces; always `scope` and `permission`. */
  readonly spaceDelimitedClaims: readonly string[];
  /** A request without a token is refused too (`presence: REQUIRED`). */
  readonly required: boolean;
}

/** What a request has proved by its tokens. */
export interface Authentication {
  /** `issuer/subject`; empty when no token was accepted. */
  readonly requestPrincipal: string;
  readonly audiences: readonly string[];
  /** The claim `azp`. */
  readonly presenter: string;
  /** The payload, as it was signed; claims that are lists separated by spaces are lists. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** A provider of MeshConfig.extensionProviders that decides for CUSTOM policies, defaults filled in. */
export interface ExtAuthzProvider {
  readonly name: string;
  readonly kind: 'http' | 'grpc';
  /** As written: a host, or `namespace/host`. */
  readonly service: string;
  readonly port: number;
  /** Key of its cluster in the same table (`outbound|port||host`); undefined when there is no such service. */
  readonly cluster: string | undefined;
  readonly timeoutMs: number;
  /** True: a request passes when the provider cannot be asked. */
  readonly failOpen: boolean;
  readonly clearRouteCache: boolean;
  /** Status of the reply when the provider cannot be asked. */
  readonly statusOnError: number;
  readonly includeRequestBodyInCheck:
    | {
        readonly maxRequestBytes: number;
        readonly allowPartialMessage: boolean;
        readonly packAsBytes: boolean;
      }
    | undefined;
  /** The following are of `http` providers; names of headers in lower case, patterns as written (`x-*`). */
  readonly pathPrefix: string;
  readonly includeRequestHeadersInCheck: readonly string[];
  readonly includeAdditionalHeadersInCheck: readonly { readonly name: string; readonly value: string }[];
  readonly headersToUpstreamOnAllow: readonly string[];
  /** Empty: all but Host. */
  readonly headersToDownstreamOnDeny: readonly string[];
  readonly headersToDownstreamOnAllow: readonly string[];
}

export type Action = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';

/** The policies that select a workload, by what they do; each list in the order of their age. Dry-run ones are apart. */
export interface AuthorizationPolicies {
  readonly custom: readonly AuthorizationPolicy[];
  readonly audit: readonly AuthorizationPolicy[];
  readonly deny: readonly AuthorizationPolicy[];
  readonly allow: readonly AuthorizationPolicy[];
  readonly dryRun: readonly AuthorizationPolicy[];
}

export interface AuthorizationPolicy {
  /** `AuthorizationPolicy shop/viewers` */
  readonly origin: string;
  readonly action: Action;
  /** CUSTOM: who decides. Undefined: whom it names is unknown, or not the only one, so that what it matches is refused. */
  readonly provider: ExtAuthzProvider | undefined;
  /** Why there is no provider; empty otherwise. */
  readonly providerFault: string;
  /** Without rules it matches nothing: an ALLOW policy then refuses everything. */
  readonly rules: readonly AuthorizationRule[];
}

export interface AuthorizationRule {
  /** Position in the policy as it was written. */
  readonly index: number;
  /** On one line, for people: `from principals=[a, b] to methods=[GET]`. */
  readonly text: string;
  /** Undefined: the rule never matches HTTP, because it names an attribute that is not known. */
  readonly http: RequestTest | undefined;
  /** Undefined: the rule never matches opaque connections (an ALLOW rule that asks for what only HTTP has). */
  readonly tcp: RequestTest | undefined;
}

/** Compiled from one rule; makes no garbage. */
export type RequestTest = (request: AuthorizationRequest) => boolean;

/** All that policies may ask of a request, or of an opaque connection. */
export interface AuthorizationRequest {
  /** SPIFFE id that the peer has proved; empty when it has proved none. */
  readonly identity: string;
  /** The connection's peer, of which `ipBlocks` and `source.ip` speak. */
  readonly sourceAddress: string;
  /** The client as trusted proxies tell it (`remoteIpBlocks`, `remote.ip`); the peer itself when none is trusted. */
  readonly remoteAddress: string;
  readonly destinationAddress: string;
  /** Of the container. */
  readonly destinationPort: number;
  /** Server name of the connection's ClientHello; empty when there was none. */
  readonly sni: string;
  /** Undefined on opaque connections. */
  readonly http: RequestView | undefined;
  /** Undefined when no token was accepted. */
  readonly authentication: Authentication | undefined;
}

const NO_POLICIES: AuthorizationPolicies = Object.freeze({ custom: [], audit: [], deny: [], allow: [], dryRun: [] });

/** Without any security resource: plaintext is accepted beside mutual TLS, and everybody may do everything. */
export const NO_SECURITY: InboundSecurity = Object.freeze({
  mtls: Object.freeze({ default: 'PERMISSIVE', defaultOrigin: 'Istio\'s default', ports: new Map<number, MtlsMode>(), portOrigins: new Map<number, string>() }),
  jwtRules: [],
  authorization: NO_POLICIES,
  probes: [],
  trustedProxies: 0,
  pathNormalization: 'BASE',
});
