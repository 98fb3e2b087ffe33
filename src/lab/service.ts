/** A Service document → its part of the world, with virtual addresses. */
import type { AddressPair } from './addresses.ts';
import type { Field, SourceDocument } from './document.ts';
import type { LabService, ServicePort } from './world.ts';

/** Read one Service; `addresses` are the virtual addresses it gets unless it is headless or names its own. */
export function readService(document: SourceDocument, namespace: string, addresses: AddressPair): LabService {
  const spec = document.root.get('spec');
  const externalName = spec.get('type').optionalString() === 'ExternalName' ? spec.get('externalName').string() : undefined;
  const ports = spec.get('ports').items().map(readServicePort);
  if (ports.length > 1) {
    for (const [index, port] of ports.entries()) {
      if (port.name === undefined) spec.get('ports').items()[index]?.get('name').fail('is missing', 'a Service of several ports names each of them');
    }
  }
  const families = readFamilies(spec.get('ipFamilies'));
  const own = spec.get('clusterIP').optionalString();
  const allocated = families.map((family) => (family === 4 ? addresses.ipv4 : addresses.ipv6));
  const clusterIPs = own === 'None' || externalName !== undefined ? [] : own === undefined || own === '' ? allocated : [own];
  return {
    namespace,
    name: document.name,
    ...(spec.get('selector').present && { selector: spec.get('selector').stringMap() }),
    ports,
    clusterIPs,
    families,
    ...(externalName !== undefined && { externalName }),
    publishNotReady: spec.get('publishNotReadyAddresses').optionalBoolean() ?? false,
    object: document.root.value as Record<string, unknown>,
  };
}

function readServicePort(field: Field): ServicePort {
  const port = field.get('port').integer(1, 65_535);
  const name = field.get('name').optionalString();
  const target = field.get('targetPort');
  return {
    ...(name !== undefined && { name }),
    port,
    targetPort: typeof target.value === 'string' ? target.value : target.optionalInteger(1, 65_535) ?? port,
    protocol: field.get('protocol').oneOf(['TCP', 'UDP']) ?? 'TCP',
  };
}

/** Both families unless the Service says otherwise: the lab is dual-stack. */
function readFamilies(field: Field): (4 | 6)[] {
  if (!field.present) return [4, 6];
  return field.items().map((item) => (item.oneOf(['IPv4', 'IPv6']) === 'IPv6' ? 6 : 4));
}
