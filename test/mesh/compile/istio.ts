/** Istio objects in one line, for tests of what they compile to. */
export function istio(kind: 'VirtualService' | 'DestinationRule' | 'ServiceEntry' | 'Gateway', name: string, spec: string, namespace = 'shop'): string {
  return `---\napiVersion: networking.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
}
