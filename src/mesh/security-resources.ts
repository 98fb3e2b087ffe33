/** Istio's security resources as they stand in a snapshot: validated, otherwise as they were written. Plain data. */
import type { Resource } from './resources.ts';

/** `selector` and `targetRefs` (`targetRef`, in old resources) exclude each other; with neither it is for the whole namespace. */
export interface Selection {
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
  readonly targetRef?: TargetRef;
  readonly targetRefs?: readonly TargetRef[];
}

export interface TargetRef {
  readonly group?: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface MutualTls {
  readonly mode?: 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT';
}

export interface PeerAuthenticationSpec extends Pick<Selection, 'selector'> {
  readonly mtls?: MutualTls;
  /** By port of the container. */
  readonly portLevelMtls?: Readonly<Record<string, MutualTls>>;
}

export interface RequestAuthenticationSpec extends Selection {
  readonly jwtRules?: readonly JwtRuleSpec[];
}

export interface JwtRuleSpec {
  readonly issuer?: string;
  readonly audiences?: readonly string[];
  readonly jwksUri?: string;
  /** Both spellings are in istio.io/api. */
  readonly jwks_uri?: string;
  readonly jwks?: string;
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[];
  readonly fromParams?: readonly string[];
  readonly fromCookies?: readonly string[];
  readonly outputPayloadToHeader?: string;
  readonly forwardOriginalToken?: boolean;
  readonly outputClaimToHeaders?: readonly { readonly header: string; readonly claim: string }[];
  readonly timeout?: string;
  readonly spaceDelimitedClaims?: readonly string[];
  readonly presence?: 'OPTIONAL' | 'REQUIRED';
}

export interface AuthorizationPolicySpec extends Selection {
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  readonly provider?: { readonly name?: string };
  readonly rules?: readonly RuleSpec[];
}

export interface RuleSpec {
  readonly from?: readonly { readonly source?: SourceSpec }[];
  readonly to?: readonly { readonly operation?: OperationSpec }[];
  readonly when?: readonly Condition[];
}

/** Field name to values; `notX` holds the values that may not be. */
export type SourceSpec = Readonly<Record<string, readonly string[]>>;
export type OperationSpec = Readonly<Record<string, readonly string[]>>;

export interface Condition {
  readonly key: string;
  readonly values?: readonly string[];
  readonly notValues?: readonly string[];
}

/** A policy with what its annotations say: `istio.io/dry-run`. */
export interface AuthorizationPolicyResource extends Resource<AuthorizationPolicySpec> {
  readonly dryRun: boolean;
}

/** MeshConfig.extensionProviders: those that decide for CUSTOM policies. */
export interface ExtensionProvider {
  readonly name: string;
  readonly envoyExtAuthzHttp?: ExtAuthzSpec;
  readonly envoyExtAuthzGrpc?: ExtAuthzSpec;
}

export interface ExtAuthzSpec {
  readonly service: string;
  readonly port: number;
  readonly timeout?: string;
  readonly pathPrefix?: string;
  readonly failOpen?: boolean;
  readonly clearRouteCache?: boolean;
  /** Istio has it as text; a number is taken as well. */
  readonly statusOnError?: string | number;
  readonly includeRequestHeadersInCheck?: readonly string[];
  readonly includeHeadersInCheck?: readonly string[];
  readonly includeAdditionalHeadersInCheck?: Readonly<Record<string, string>>;
  readonly includeRequestBodyInCheck?: { readonly maxRequestBytes?: number; readonly allowPartialMessage?: boolean; readonly packAsBytes?: boolean };
  readonly headersToUpstreamOnAllow?: readonly string[];
  readonly headersToDownstreamOnDeny?: readonly string[];
  readonly headersToDownstreamOnAllow?: readonly string[];
}
