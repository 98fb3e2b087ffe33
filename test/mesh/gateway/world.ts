/** Gateway API objects in one line, for tests of what they compile to. */
export type GatewayKind = 'GatewayClass' | 'Gateway' | 'ListenerSet' | 'HTTPRoute' | 'GRPCRoute' | 'TLSRoute' | 'TCPRoute' | 'ReferenceGrant' | 'BackendTLSPolicy';

/** `age`: older ones have smaller numbers. */
export function gatewayApi(kind: GatewayKind, name: string, spec: string, { namespace = 'shop', age = 0 }: { readonly namespace?: string; readonly age?: number } = {}): string {
  const created = age === 0 ? '' : `, creationTimestamp: "${new Date(1_700_000_000_000 + age * 1000).toISOString()}"`;
  return `---\napiVersion: gateway.networking.k8s.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}${created}}\nspec: ${spec}\n`;
}
