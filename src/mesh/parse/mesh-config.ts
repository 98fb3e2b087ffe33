/** MeshConfig, as Istio keeps it: YAML in the key `mesh` of ConfigMap `istio` in the root namespace. */
import { parse } from 'yaml';
import { durationMs } from '../duration.ts';
import { DEFAULT_MESH_CONFIG } from '../snapshot.ts';
import type { MeshConfig } from '../snapshot.ts';
import { record, text } from './kubernetes.ts';
import { check, duration, isRecord, later, object, oneOf, string } from './schema.ts';
import type { Report } from './schema.ts';

/** Fields of MeshConfig that nothing here acts on, so that a ConfigMap taken over from Istio is understood. */
const OTHERS: readonly string[] = [
  'ca', 'caCertificates', 'certificates', 'configSources', 'defaultInboundHttpRetryPolicy', 'defaultProviders', 'defaultTrafficPolicy', 'disableEnvoyListenerLog',
  'discoverySelectors', 'dnsRefreshRate', 'enableEnvoyAccessLogService', 'extensionProviders', 'h2UpgradePolicy', 'inboundClusterStatName', 'inboundTrafficPolicy',
  'ingressClass', 'ingressControllerMode', 'ingressSelector', 'ingressService', 'meshMTLS', 'outboundClusterStatName', 'proxyHttpPort', 'proxyInboundListenPort',
  'proxyListenPort', 'serviceEntryVisibility', 'serviceScopeConfigs', 'serviceSettings', 'tcpKeepalive', 'tlsDefaults', 'trustDomainAliases', 'verifyCertificateAtClient',
];

const schema = object({
  outboundTrafficPolicy: object({ mode: oneOf(['ALLOW_ANY', 'REGISTRY_ONLY']) }),
  connectTimeout: duration,
  accessLogFile: string,
  accessLogEncoding: oneOf(['TEXT', 'JSON']),
  accessLogFormat: string,
  trustDomain: string,
  rootNamespace: string,
  defaultConfig: later('the agent is set by its own flags'),
  enableAutoMtls: later('mutual TLS comes with identity'),
  enablePrometheusMerge: later('the agent serves its own metrics'),
  enableTracing: later('trace headers are passed through'),
  protocolDetectionTimeout: later('detection needs no timeout'),
  defaultHttpRetryPolicy: later('set retries in VirtualServices'),
  defaultServiceExportTo: later('everything is exported'),
  defaultVirtualServiceExportTo: later('everything is exported'),
  defaultDestinationRuleExportTo: later('everything is exported'),
  localityLbSetting: later('all localities are used alike'),
  pathNormalization: later('paths are passed through as they are'),
  ...Object.fromEntries(OTHERS.map((name) => [name, later('it concerns other parts of Istio, or comes later')])),
});

/** Read the honoured parts; what is wrong is reported against the ConfigMap's `data.mesh`. */
export function readMeshConfig(configMap: Readonly<Record<string, unknown>>, report: Report): MeshConfig {
  let value: unknown;
  try {
    value = parse(text(record(configMap['data'])['mesh']));
  } catch (error) {
    report.error(['data', 'mesh'], `no YAML: ${error instanceof Error ? (error.message.split('\n')[0] as string) : String(error)}`, 'correct it');
    return DEFAULT_MESH_CONFIG;
  }
  if (!isRecord(value)) return DEFAULT_MESH_CONFIG;
  check(value, schema, ['data', 'mesh'], report);
  const policy = record(value['outboundTrafficPolicy'])['mode'];
  return {
    rootNamespace: text(value['rootNamespace']) || DEFAULT_MESH_CONFIG.rootNamespace,
    trustDomain: text(value['trustDomain']) || DEFAULT_MESH_CONFIG.trustDomain,
    outboundTrafficPolicy: policy === 'REGISTRY_ONLY' ? 'REGISTRY_ONLY' : 'ALLOW_ANY',
    connectTimeoutMs: durationMs(text(value['connectTimeout']) || undefined, DEFAULT_MESH_CONFIG.connectTimeoutMs),
    accessLogFile: text(value['accessLogFile']),
    accessLogEncoding: value['accessLogEncoding'] === 'JSON' ? 'JSON' : 'TEXT',
    accessLogFormat: text(value['accessLogFormat']),
  };
}
