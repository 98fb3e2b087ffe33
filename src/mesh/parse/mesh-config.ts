/**
 * MeshConfig, as Istio keeps it: YAML in the key `mesh` of ConfigMap `istio` in the root namespace. Settings of Orlop's own stand beside it in
 * the key `orlop`, where Istio does not look.
 */
import { parse } from 'yaml';
import { durationMs } from '../duration.ts';
import { DEFAULT_MESH_CONFIG } from '../snapshot.ts';
import type { PathNormalization } from '../path.ts';
import type { ExtensionProvider } from '../security-resources.ts';
import type { MeshConfig } from '../snapshot.ts';
import { record, text } from './json.ts';
import type { Json } from './json.ts';
import { check, duration, int, isRecord, later, list, object, oneOf, string, withoutNulls } from './schema.ts';
import type { Report, Schema } from './schema.ts';
import { extAuthzGrpc, extAuthzHttp } from './security-schemas.ts';

/** Fields of MeshConfig that nothing here acts on, so that a ConfigMap taken over from Istio is understood. */
const OTHERS: readonly string[] = [
  'ca', 'caCertificates', 'certificates', 'configSources', 'defaultInboundHttpRetryPolicy', 'defaultProviders', 'defaultTrafficPolicy', 'disableEnvoyListenerLog',
  'discoverySelectors', 'dnsRefreshRate', 'enableEnvoyAccessLogService', 'h2UpgradePolicy', 'inboundClusterStatName', 'inboundTrafficPolicy',
  'ingressClass', 'ingressControllerMode', 'ingressSelector', 'ingressService', 'meshMTLS', 'outboundClusterStatName', 'proxyHttpPort', 'proxyInboundListenPort',
  'proxyListenPort', 'serviceEntryVisibility', 'serviceScopeConfigs', 'serviceSettings', 'tcpKeepalive', 'tlsDefaults', 'verifyCertificateAtClient',
];

/** Other kinds of extensionProviders. */
const OTHER_PROVIDERS: readonly string[] = [
  'zipkin', 'lightstep', 'datadog', 'stackdriver', 'opencensus', 'skywalking', 'opentelemetry', 'prometheus', 'envoyFileAccessLog', 'envoyHttpAls', 'envoyTcpAls', 'envoyOtelAls', 'sds',
];

/** Fields of ProxyConfig besides gatewayTopology. */
const PROXY_CONFIG: readonly string[] = [
  'configPath', 'binaryPath', 'serviceCluster', 'drainDuration', 'discoveryAddress', 'discoveryRefreshDelay', 'statsdUdpAddress', 'zipkinAddress', 'proxyAdminPort',
  'controlPlaneAuthPolicy', 'customConfigFile', 'statNameLength', 'concurrency', 'proxyBootstrapTemplatePath', 'interceptionMode', 'tracing', 'sds', 'envoyAccessLogService',
  'envoyMetricsService', 'proxyMetadata', 'runtimeValues', 'statusPort', 'extraStatTags', 'terminationDrainDuration', 'meshId', 'readinessProbe', 'proxyStatsMatcher',
  'holdApplicationUntilProxyStarts', 'caCertificatesPem', 'image', 'privateKeyProvider', 'proxyHeaders', 'fileFlushInterval', 'fileFlushMinSizeKb', 'statsEvictionInterval',
  'connectionSettings', 'availabilityZone', 'parentShutdownDuration',
];

function named(names: readonly string[], effect: string): Record<string, Schema> {
  return Object.fromEntries(names.map((name) => [name, later(effect)]));
}

const schema = object({
  outboundTrafficPolicy: object({ mode: oneOf(['ALLOW_ANY', 'REGISTRY_ONLY']) }),
  connectTimeout: duration,
  accessLogFile: string,
  accessLogEncoding: oneOf(['TEXT', 'JSON']),
  accessLogFormat: string,
  trustDomain: string,
  rootNamespace: string,
  trustDomainAliases: list(string),
  extensionProviders: list(object({ name: string, envoyExtAuthzHttp: extAuthzHttp, envoyExtAuthzGrpc: extAuthzGrpc, ...named(OTHER_PROVIDERS, 'of the providers those of external authorization are used') }, ['name'])),
  defaultConfig: object({
    gatewayTopology: object({ numTrustedProxies: int(0, 255), ...named(['forwardClientCertDetails', 'proxyProtocol'], 'gateways come with Kubernetes support') }),
    ...named(PROXY_CONFIG, 'the agent is set by its own flags'),
  }),
  pathNormalization: object({ normalization: oneOf(['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES']) }),
  enableAutoMtls: later('mutual TLS comes with identity'),
  enablePrometheusMerge: later('the agent serves its own metrics'),
  enableTracing: later('trace headers are passed through'),
  protocolDetectionTimeout: later('detection needs no timeout'),
  defaultHttpRetryPolicy: later('set retries in VirtualServices'),
  defaultServiceExportTo: later('everything is exported'),
  defaultVirtualServiceExportTo: later('everything is exported'),
  defaultDestinationRuleExportTo: later('everything is exported'),
  localityLbSetting: later('all localities are used alike'),
  ...named(OTHERS, 'it concerns other parts of Istio, or comes later'),
});

/** Of the key `orlop`. */
const ownSchema = object({ istioDataplaneMode: oneOf(['honoured', 'ignored']) });

/** Read the honoured parts; what is wrong is reported against the ConfigMap's `data.mesh` and `data.orlop`. */
export function readMeshConfig(configMap: Readonly<Record<string, unknown>>, report: Report): MeshConfig {
  const own = readKey(configMap, 'orlop', ownSchema, report);
  const value = readKey(configMap, 'mesh', schema, report);
  checkProviders(value['extensionProviders'], report);
  const policy = record(value['outboundTrafficPolicy'])['mode'];
  return {
    rootNamespace: text(value['rootNamespace']) || DEFAULT_MESH_CONFIG.rootNamespace,
    trustDomain: text(value['trustDomain']) || DEFAULT_MESH_CONFIG.trustDomain,
    outboundTrafficPolicy: policy === 'REGISTRY_ONLY' ? 'REGISTRY_ONLY' : 'ALLOW_ANY',
    trustDomainAliases: Array.isArray(value['trustDomainAliases']) ? value['trustDomainAliases'].map(text) : [],
    extensionProviders: (withoutNulls(value['extensionProviders']) ?? []) as readonly ExtensionProvider[],
    numTrustedProxies: Number(text(record(record(value['defaultConfig'])['gatewayTopology'])['numTrustedProxies'])),
    pathNormalization: normalizationOf(text(record(value['pathNormalization'])['normalization'])),
    connectTimeoutMs: durationMs(text(value['connectTimeout']) || undefined, DEFAULT_MESH_CONFIG.connectTimeoutMs),
    accessLogFile: text(value['accessLogFile']),
    accessLogEncoding: value['accessLogEncoding'] === 'JSON' ? 'JSON' : 'TEXT',
    accessLogFormat: text(value['accessLogFormat']),
    istioDataplaneMode: own['istioDataplaneMode'] === 'ignored' ? 'ignored' : 'honoured',
  };
}

/** Empty when it is not there, or no YAML of a map. */
function readKey(configMap: Json, key: string, expected: Schema, report: Report): Json {
  let value: unknown;
  try {
    value = parse(text(record(configMap['data'])[key]));
  } catch (error) {
    report.error(['data', key], `no YAML: ${error instanceof Error ? (error.message.split('\n')[0] as string) : String(error)}`, 'correct it');
  }
  if (!isRecord(value)) return {};
  check(value, expected, ['data', key], report);
  return value;
}

function checkProviders(providers: unknown, report: Report): void {
  if (!Array.isArray(providers)) return;
  const names = new Set<string>();
  for (const [i, provider] of providers.map(record).entries()) {
    const path = ['data', 'mesh', 'extensionProviders', i];
    const name = text(provider['name']);
    if (names.has(name)) report.error([...path, 'name'], `duplicate provider "${name}"`, 'give each provider a name of its own');
    names.add(name);
    const kinds = Object.keys(provider).filter((key) => key !== 'name');
    if (kinds.length !== 1) report.error(path, kinds.length === 0 ? 'the provider says nothing but its name' : `${kinds.join(' and ')} exclude each other`, 'give it one kind, such as envoyExtAuthzGrpc');
    for (const kind of ['envoyExtAuthzHttp', 'envoyExtAuthzGrpc']) {
      const status = text(record(provider[kind])['statusOnError']);
      if (status !== '' && !/^[1-5][0-9][0-9]$/.test(status)) report.error([...path, kind, 'statusOnError'], `"${status}" is no HTTP status`, 'write one of 100 to 599');
    }
  }
}

function normalizationOf(written: string): PathNormalization {
  return written === 'NONE' || written === 'MERGE_SLASHES' || written === 'DECODE_AND_MERGE_SLASHES' ? written : 'BASE';
}
