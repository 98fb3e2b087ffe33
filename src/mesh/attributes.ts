/** What policies can ask of a request: the keys of `when`, of which the fields of `source` and `operation` are short forms. */

export type AttributeName =
  | 'request.headers'
  | 'source.ip'
  | 'remote.ip'
  | 'source.namespace'
  | 'source.principal'
  | 'source.serviceAccount'
  | 'source.trustDomain'
  | 'request.auth.principal'
  | 'request.auth.audiences'
  | 'request.auth.presenter'
  | 'request.auth.claims'
  | 'destination.ip'
  | 'destination.port'
  | 'connection.sni'
  | 'request.host'
  | 'request.method'
  | 'request.path';

export interface Attribute {
  readonly name: AttributeName;
  /** What stands in brackets: the header, or the claim from the outside in. */
  readonly path: readonly string[];
}

/** Attributes that an opaque connection does not have. */
const HTTP_ONLY: ReadonlySet<AttributeName> = new Set<AttributeName>([
  'request.headers', 'request.auth.principal', 'request.auth.audiences', 'request.auth.presenter', 'request.auth.claims', 'request.host', 'request.method', 'request.path',
]);

export function isHttpOnly(name: AttributeName): boolean {
  return HTTP_ONLY.has(name);
}

/** Attributes that are known once a token was accepted. CUSTOM policies come before that, and may not ask for them. */
export function isFromToken(name: AttributeName): boolean {
  return name.startsWith('request.auth.');
}

const PLAIN: ReadonlySet<string> = new Set<AttributeName>([
  'source.ip', 'remote.ip', 'source.namespace', 'source.principal', 'source.serviceAccount', 'source.trustDomain', 'request.auth.principal',
  'request.auth.audiences', 'request.auth.presenter', 'destination.ip', 'destination.port', 'connection.sni',
]);

/** A key of `when`; undefined when there is no such attribute. */
export function attributeOf(key: string): Attribute | undefined {
  if (PLAIN.has(key)) return { name: key as AttributeName, path: [] };
  const header = /^request\.headers\[([^[\]]+)\]$/.exec(key)?.[1];
  if (header !== undefined) return { name: 'request.headers', path: [header.toLowerCase()] };
  const claims = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/.exec(key)?.[1];
  if (claims !== undefined) return { name: 'request.auth.claims', path: claims.slice(1, -1).split('][') };
  return undefined;
}

/** Fields of `source` and `operation` as attributes. */
export const FIELD_ATTRIBUTES: Readonly<Record<string, AttributeName>> = {
  principals: 'source.principal',
  requestPrincipals: 'request.auth.principal',
  namespaces: 'source.namespace',
  serviceAccounts: 'source.serviceAccount',
  ipBlocks: 'source.ip',
  remoteIpBlocks: 'remote.ip',
  trustDomains: 'source.trustDomain',
  hosts: 'request.host',
  ports: 'destination.port',
  methods: 'request.method',
  paths: 'request.path',
};
