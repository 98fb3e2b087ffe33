/** Mistakes in security resources: told with line, field and remedy; the last good version stays, and one that never was is said loudly. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { application, snapshotOf, tableOf } from './world.ts';

const APP = application('shop', ['cart']);

function object(kind: string, spec: string, name = 'x', annotations = '{}'): string {
  return `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop, annotations: ${annotations}}\nspec:\n${spec}`;
}

const policy = (spec: string): string => object('AuthorizationPolicy', spec);

interface Mistake {
  readonly name: string;
  readonly yaml: string;
  readonly field: string;
  readonly message: RegExp;
  readonly remedy: RegExp;
  readonly code?: string;
  readonly severity?: 'error' | 'warning';
}

/** `# HERE` marks the line that must be told. */
const MISTAKES: readonly Mistake[] = [
  { name: 'a mode that is none', field: 'spec.mtls.mode', message: /"MANDATORY" is not one/, remedy: /STRICT/, yaml: object('PeerAuthentication', '  mtls:\n    mode: MANDATORY # HERE\n') },
  { name: 'ports without a selector', field: 'spec.portLevelMtls', message: /needs a selector/, remedy: /select the workloads/, yaml: object('PeerAuthentication', '  portLevelMtls: {"80": {mode: STRICT}} # HERE\n') },
  { name: 'a rule without any issuer', field: 'spec.jwtRules[0]', message: /neither issuer/, remedy: /name the issuer/, yaml: object('RequestAuthentication', '  jwtRules:\n  - audiences: [a] # HERE\n') },
  { name: 'keys in two places', field: 'spec.jwtRules[0]', message: /exclude each other/, remedy: /one of them/, yaml: object('RequestAuthentication', '  jwtRules:\n  - {issuer: a, jwksUri: "https://a", jwks: "{\\"keys\\": []}"} # HERE\n') },
  { name: 'keys that are none', field: 'spec.jwtRules[0].jwks', message: /no JSON Web Key Set/, remedy: /RFC 7517/, yaml: object('RequestAuthentication', '  jwtRules:\n  - issuer: a\n    jwks: "{}" # HERE\n') },
  { name: 'keys from a file', field: 'spec.jwtRules[0].jwksUri', message: /no http or https URL/, remedy: /https:/, yaml: object('RequestAuthentication', '  jwtRules:\n  - issuer: a\n    jwksUri: "file:///etc/keys" # HERE\n') },
  { name: 'a header that is none', field: 'spec.jwtRules[0].fromHeaders[0].name', message: /not the name of a header/, remedy: /name of a header/, yaml: object('RequestAuthentication', '  jwtRules:\n  - issuer: a\n    fromHeaders:\n    - name: "a b" # HERE\n') },
  { name: 'CUSTOM without a provider', field: 'spec', message: /needs a provider/, remedy: /extensionProviders/, yaml: object('AuthorizationPolicy', '  action: CUSTOM\n  rules: [{}]\n').replace('spec:', 'spec: # HERE') },
  { name: 'a provider without CUSTOM', field: 'spec.provider', message: /only action CUSTOM/, remedy: /set action CUSTOM/, yaml: policy('  rules: [{}]\n  provider: {name: a} # HERE\n') },
  { name: 'DENY without rules', field: 'spec', message: /without rules does nothing/, remedy: /\[\{\}\]/, yaml: policy('  action: DENY\n').replace('spec:', 'spec: # HERE') },
  { name: 'an empty from', field: 'spec.rules[0].from', message: /from is empty/, remedy: /any source/, yaml: policy('  rules:\n  - from: [] # HERE\n') },
  { name: 'an empty source', field: 'spec.rules[0].from[0]', message: /source is empty/, remedy: /any source/, yaml: policy('  rules:\n  - from:\n    - source: {} # HERE\n') },
  { name: 'an empty list', field: 'spec.rules[0].from[0].source.principals', message: /principals is empty/, remedy: /give it values/, yaml: policy('  rules:\n  - from:\n    - source:\n        principals: [] # HERE\n') },
  { name: 'an empty value', field: 'spec.rules[0].to[0].operation.paths[0]', message: /at least one character/, remedy: /at least/, yaml: policy('  rules:\n  - to:\n    - operation:\n        paths:\n        - "" # HERE\n') },
  { name: 'a misspelt field', field: 'spec.rules[0].to[0].operation.path', message: /unknown field/, remedy: /did you mean "paths"/, yaml: policy('  rules:\n  - to:\n    - operation:\n        path: [/a] # HERE\n') },
  { name: 'an address that is none', field: 'spec.rules[0].from[0].source.ipBlocks[0]', message: /neither an IP address nor a network/, remedy: /10.0.0.0\/8/, yaml: policy('  rules:\n  - from:\n    - source:\n        ipBlocks: [10.0.0.0/33] # HERE\n') },
  { name: 'a port that is none', field: 'spec.rules[0].to[0].operation.ports[0]', message: /"http" is no port/, remedy: /in quotes/, yaml: policy('  rules:\n  - to:\n    - operation:\n        ports: [http] # HERE\n') },
  { name: 'a template that is none', field: 'spec.rules[0].to[0].operation.paths[0]', message: /neither text nor/, remedy: /no other braces/, yaml: policy('  rules:\n  - to:\n    - operation:\n        paths: ["/a/{id}"] # HERE\n') },
  { name: 'a service account with a wildcard', field: 'spec.rules[0].from[0].source.serviceAccounts[0]', message: /no service account/, remedy: /no wildcards/, yaml: policy('  rules:\n  - from:\n    - source:\n        serviceAccounts: ["a/*"] # HERE\n') },
  { name: 'a condition without values', field: 'spec.rules[0].when[0]', message: /neither values nor notValues/, remedy: /values/, yaml: policy('  rules:\n  - when:\n    - key: source.ip # HERE\n') },
  { name: 'a claim in a CUSTOM policy', field: 'spec.rules[0].when[0].key', message: /before tokens are read/, remedy: /another action/, yaml: policy('  action: CUSTOM\n  provider: {name: a}\n  rules:\n  - when:\n    - key: "request.auth.claims[a]" # HERE\n      values: [b]\n') },
  { name: 'two ways of selecting', field: 'spec.targetRefs', message: /exclude each other/, remedy: /one of them/, yaml: policy('  selector: {matchLabels: {app: cart}}\n  targetRefs: [{kind: Service, name: cart}] # HERE\n') },
  { name: 'an unknown key', severity: 'warning', code: 'ORLOP017', field: 'spec.rules[0].when[0].key', message: /never allows/, remedy: /documents/, yaml: policy('  rules:\n  - when:\n    - key: request.body # HERE\n      values: [b]\n') },
  { name: 'an unknown key in DENY', severity: 'warning', code: 'ORLOP017', field: 'spec.rules[0].when[0].key', message: /nothing is decided/, remedy: /documents/, yaml: policy('  action: DENY\n  rules:\n  - when:\n    - key: request.body # HERE\n      values: [b]\n') },
  { name: 'a principal with its scheme', severity: 'warning', code: 'ORLOP018', field: 'spec.rules[0].from[0].source.principals[0]', message: /matches nobody/, remedy: /write cluster.local/, yaml: policy('  rules:\n  - from:\n    - source:\n        principals: ["spiffe://cluster.local/ns/a/sa/b"] # HERE\n') },
  { name: 'a star in the middle', severity: 'warning', code: 'ORLOP019', field: 'spec.rules[0].from[0].source.principals[0]', message: /stands for itself/, remedy: /prefix\*/, yaml: policy('  rules:\n  - from:\n    - source:\n        principals: ["cluster.local/*/sa/b"] # HERE\n') },
  { name: 'DENY of a method without a port', severity: 'warning', code: 'IST0167', field: 'spec.rules[0].to[0].operation.methods', message: /denies all of them/, remedy: /operation.ports/, yaml: policy('  action: DENY\n  rules:\n  - to:\n    - operation:\n        methods: [POST] # HERE\n') },
  { name: 'CUSTOM for a path without a port', severity: 'warning', code: 'IST0167', field: 'spec.rules[0].to[0].operation.paths', message: /asks its provider about whatever else it matches/, remedy: /operation.ports/, yaml: `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "{extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1}}]}"}\n---\n${policy('  action: CUSTOM\n  provider: {name: a}\n  rules:\n  - from: [{source: {namespaces: [a]}}]\n    to:\n    - operation:\n        paths: [/a] # HERE\n')}` },
  { name: 'a selector for nobody', severity: 'warning', code: 'IST0127', field: 'spec.selector', message: /no workload/, remedy: /correct the selector/, yaml: policy('  selector: {matchLabels: {app: crat}} # HERE\n') },
  { name: 'a target that is not there', severity: 'warning', code: 'IST0101', field: 'spec.targetRefs', message: /no Service shop\/crat/, remedy: /correct the name/, yaml: policy('  targetRefs: [{kind: Service, name: crat}] # HERE\n') },
  { name: 'a provider that is not there', severity: 'warning', code: 'ORLOP024', field: 'spec.provider.name', message: /is refused/, remedy: /add it/, yaml: policy('  action: CUSTOM\n  rules: [{}]\n  provider:\n    name: nobody # HERE\n') },
  { name: 'a dry-run that is none', severity: 'warning', code: 'ORLOP025', field: 'metadata.annotations.istio.io/dry-run', message: /in force/, remedy: /remove/, yaml: object('AuthorizationPolicy', '  action: AUDIT\n  rules: [{}]\n', 'x', '{"istio.io/dry-run": "true"}').replace('"true"}}', '"true"}} # HERE') },
  { name: 'a younger PeerAuthentication', severity: 'warning', code: 'KIA0501', field: '', message: /PeerAuthentication shop\/a is older/, remedy: /keep one/, yaml: `${object('PeerAuthentication', '  mtls: {mode: STRICT}\n', 'a')}---\n${object('PeerAuthentication', '  mtls: {mode: STRICT}\n', 'b').replace('v1\n', 'v1 # HERE\n')}` },
  { name: 'a selector in the root namespace', severity: 'warning', code: 'ORLOP023', field: 'spec.selector', message: /for nobody/, remedy: /namespace of the workloads/, yaml: object('PeerAuthentication', '  selector: {matchLabels: {app: cart}} # HERE\n').replace('namespace: shop', 'namespace: istio-system') },
  { name: 'TLS with a client certificate that is not there', field: 'spec.trafficPolicy.tls', message: /MUTUAL needs/, remedy: /certificate to show/, yaml: 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: shop}\nspec:\n  host: cart\n  trafficPolicy:\n    tls: {mode: MUTUAL} # HERE\n' },
  { name: 'TLS of the mesh with a certificate of its own', field: 'spec.trafficPolicy.tls', message: /certificates of the mesh/, remedy: /use MUTUAL/, yaml: 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: shop}\nspec:\n  host: cart\n  trafficPolicy:\n    tls: {mode: ISTIO_MUTUAL, sni: a} # HERE\n' },
  { name: 'a provider of two kinds', field: 'data.mesh.extensionProviders[0]', message: /exclude each other/, remedy: /one kind/, yaml: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    extensionProviders:\n    - {name: a, envoyExtAuthzHttp: {service: a.b, port: 1}, envoyExtAuthzGrpc: {service: a.b, port: 1}} # HERE\n' },
  { name: 'a status that is none', field: 'data.mesh.extensionProviders[0].envoyExtAuthzGrpc.statusOnError', message: /no HTTP status/, remedy: /100 to 599/, yaml: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    extensionProviders:\n    - {name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, statusOnError: Forbidden}} # HERE\n' },
];

describe('a mistake', () => {
  it.each(MISTAKES)('$name', ({ yaml, field, message, remedy, code = 'IST0106', severity = 'error' }) => {
    const snapshot = snapshotOf({ 'good.yaml': APP, 'bad.yaml': yaml });
    const told = snapshot.problems.filter((problem) => problem.code !== 'ORLOP016');
    expect(told.map(renderProblem)).toHaveLength(1);
    expect(told[0]).toMatchObject({ file: 'bad.yaml', line: yaml.split('\n').findIndex((text) => text.endsWith('# HERE')) + 1, severity, code, field });
    expect(told[0]?.message).toMatch(message);
    expect(told[0]?.remedy).toMatch(remedy);
  });
});

describe('a security object that is wrong', () => {
  const good = policy('  action: DENY\n  rules: [{}]\n');
  const bad = policy('  action: DENY\n  rules: [{frm: []}]\n');
  const other = object('AuthorizationPolicy', '  action: DENY\n  rules: [{}]\n', 'other');

  it('and was right before stays in force as it was', () => {
    const first = snapshotOf({ 'app.yaml': APP, 'x.yaml': good });
    const second = snapshotOf({ 'app.yaml': APP, 'x.yaml': bad }, first);
    expect(tableOf(second, 'shop/cart-v1').security.authorization.deny).toHaveLength(1);
    expect(second.problems.map(({ severity, code }) => `${severity} ${code}`).sort()).toEqual(['error IST0106', 'info ORLOP006']);
  });

  it('and never was right protects nothing, which is an error of its own; others are in force', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'x.yaml': bad, 'y.yaml': other });
    expect(tableOf(snapshot, 'shop/cart-v1').security.authorization.deny.map(({ origin }) => origin)).toEqual(['AuthorizationPolicy shop/other']);
    expect(snapshot.problems.map(renderProblem)).toContainEqual(expect.stringMatching(/error \[ORLOP016\] AuthorizationPolicy shop\/x: this object has never been valid, so it protects nothing/));
  });

  it('and is removed is in force no longer', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP }, snapshotOf({ 'app.yaml': APP, 'x.yaml': good }));
    expect(tableOf(snapshot, 'shop/cart-v1').security.authorization.deny).toEqual([]);
  });
});
