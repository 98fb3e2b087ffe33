/** Each mistake is told with its file, its line, its field and what to do about it, and costs no other object anything. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { application, errors, snapshotOf } from './world.ts';

interface Mistake {
  readonly name: string;
  /** The line at fault ends with `# HERE`. */
  readonly yaml: string;
  readonly code: string;
  readonly field: string;
  readonly message: RegExp;
  readonly remedy: RegExp;
  readonly severity?: 'warning' | 'info';
}

const virtualService = (http: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad, namespace: shop}
spec:
  hosts: [cart]
  http:
${http}`;

const destinationRule = (spec: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bad, namespace: shop}
spec:
  host: cart
${spec}`;

const serviceEntry = (spec: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bad, namespace: shop}
spec:
${spec}`;

const ROUTE = '    route: [{destination: {host: cart}}]';

const MISTAKES: readonly Mistake[] = [
  { name: 'a YAML syntax error', code: 'ORLOP001', field: '', message: /./, remedy: /correct the YAML/, yaml: 'kind: Service\nmetadata:\n  name: x\n\tnamespace: y # HERE\n' },
  { name: 'a key given twice', code: 'ORLOP001', field: '', message: /unique/, remedy: /correct the YAML/, yaml: 'kind: Service\nmetadata: {}\nkind: Pod # HERE\n' },
  { name: 'a document that is no object', code: 'ORLOP002', field: '', message: /no object/, remedy: /apiVersion, kind/, yaml: '- kind: Service # HERE\n' },
  { name: 'an item of a List that is no object', code: 'ORLOP002', field: 'items[1]', message: /no object/, remedy: /apiVersion, kind/, yaml: 'kind: List\nitems:\n- {apiVersion: v1, kind: Secret}\n- nothing # HERE\n' },
  { name: 'an object without kind', code: 'IST0106', field: '', message: /kind is missing/, remedy: /apiVersion and kind/, yaml: 'metadata: {name: x} # HERE\n' },
  { name: 'an unknown kind', code: 'ORLOP003', field: 'kind', message: /unknown kind "VirtualServce"/, remedy: /did you mean VirtualService\?/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualServce # HERE\nmetadata: {name: x}\n' },
  { name: 'an unknown apiVersion', code: 'ORLOP004', field: 'apiVersion', message: /networking.istio.io\/v2/, remedy: /use networking.istio.io\/v1/, yaml: '\napiVersion: networking.istio.io/v2 # HERE\nkind: VirtualService\nmetadata: {name: x}\nspec: {}\n' },
  { name: 'an object without name', code: 'IST0106', field: 'metadata', message: /name is missing/, remedy: /give the object a name/, yaml: 'apiVersion: v1\nkind: Service\nmetadata: {namespace: x} # HERE\nspec: {}\n' },
  { name: 'a misspelt spec', code: 'IST0106', field: 'sepc', message: /unknown field "sepc"/, remedy: /did you mean "spec"\?/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {http: [{directResponse: {status: 200}}]}\nsepc: {} # HERE\n' },
  { name: 'an unknown field', code: 'IST0106', field: 'spec.http[1].timout', message: /unknown field "timout"/, remedy: /did you mean "timeout"\?/, yaml: virtualService(`  - match: [{uri: {exact: /}}]\n${ROUTE}\n  - timout: 1s # HERE\n${ROUTE}\n`) },
  { name: 'an unknown field that is like none', code: 'IST0106', field: 'spec.http[0].zzzzzzzzzzzz', message: /unknown field/, remedy: /known here: name, match/, yaml: virtualService(`  - zzzzzzzzzzzz: 1s # HERE\n${ROUTE}\n`) },
  { name: 'a list where an object belongs', code: 'IST0106', field: 'spec.http[0].route[0].destination', message: /expected an object/, remedy: /write an object/, yaml: virtualService('  - route:\n    - destination: [cart] # HERE\n') },
  { name: 'an object where a list belongs', code: 'IST0106', field: 'spec.http', message: /expected a list/, remedy: /write a list/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [cart]\n  http: {route: []} # HERE\n' },
  { name: 'a version without quotes', code: 'IST0106', field: 'spec.subsets[0].labels.version', message: /expected text, got 2/, remedy: /put it in quotes: "2"/, yaml: destinationRule('  subsets:\n  - name: v2\n    labels: {version: 2} # HERE\n') },
  { name: 'a match that is empty', code: 'IST0106', field: 'spec.http[0].match[0].headers.end-user', message: /empty/, remedy: /give it a value/, yaml: virtualService(`  - match:\n    - headers:\n        end-user: # HERE\n${ROUTE}\n`) },
  { name: 'a field that is empty', severity: 'warning', code: 'ORLOP013', field: 'spec.http[0].timeout', message: /empty/, remedy: /give it a value/, yaml: virtualService(`  - timeout: # HERE\n${ROUTE}\n`) },
  { name: 'an unknown word', code: 'IST0106', field: 'spec.trafficPolicy.loadBalancer.simple', message: /"FASTEST"/, remedy: /ROUND_ROBIN/, yaml: destinationRule('  trafficPolicy:\n    loadBalancer:\n      simple: FASTEST # HERE\n') },
  { name: 'a duration without unit', code: 'IST0106', field: 'spec.http[0].timeout', message: /expected a duration/, remedy: /10s/, yaml: virtualService(`  - timeout: 10 # HERE\n${ROUTE}\n`) },
  { name: 'a duration with a wrong unit', code: 'IST0106', field: 'spec.http[0].timeout', message: /"10sec" is no duration/, remedy: /10s/, yaml: virtualService(`  - timeout: 10sec # HERE\n${ROUTE}\n`) },
  { name: 'a port out of range', code: 'IST0106', field: 'spec.http[0].route[0].destination.port.number', message: /70000 is out of range/, remedy: /1 to 65535/, yaml: virtualService('  - route:\n    - destination:\n        host: cart\n        port: {number: 70000} # HERE\n') },
  { name: 'a negative weight', code: 'IST0106', field: 'spec.http[0].route[0].weight', message: /-1 is out of range/, remedy: /use 0 to/, yaml: virtualService('  - route:\n    - destination: {host: cart}\n      weight: -1 # HERE\n') },
  { name: 'weights that add up to 0', code: 'ORLOP020', field: 'spec.http[0].route', message: /add up to 0/, remedy: /weight above 0/, yaml: virtualService('  - name: split\n    route: # HERE\n    - {destination: {host: cart}, weight: 0}\n    - {destination: {host: cart, port: {number: 9080}}}\n') },
  { name: 'a look-ahead', code: 'IST0106', field: 'spec.http[0].match[0].uri.regex', message: /not RE2/, remedy: /no look-around/, yaml: virtualService(`  - match:\n    - uri:\n        regex: "/a(?=b)" # HERE\n${ROUTE}\n`) },
  { name: 'a regular expression that is too long', code: 'IST0106', field: 'spec.http[0].match[0].headers.x.regex', message: /longer than 1024/, remedy: /RE2/, yaml: virtualService(`  - match:\n    - headers:\n        x:\n          regex: ${'a'.repeat(1025)} # HERE\n${ROUTE}\n`) },
  { name: 'two kinds of match', code: 'IST0106', field: 'spec.http[0].match[0].uri', message: /exact and prefix exclude/, remedy: /keep one/, yaml: virtualService(`  - match:\n    - uri: {exact: /a, prefix: /b} # HERE\n${ROUTE}\n`) },
  { name: 'a route and a redirect', code: 'IST0106', field: 'spec.http[0]', message: /route and redirect exclude/, remedy: /keep one/, yaml: virtualService(`  - redirect: {uri: /b} # HERE\n${ROUTE}\n`) },
  { name: 'a route to nowhere', code: 'IST0106', field: 'spec.http[0]', message: /neither route, redirect/, remedy: /what becomes of the request/, yaml: virtualService('  - timeout: 1s # HERE\n') },
  { name: 'a rule without routes', code: 'IST0106', field: 'spec', message: /no http, tls or tcp/, remedy: /at least one/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [cart]} # HERE\n' },
  { name: 'a host named twice', code: 'IST0106', field: 'spec.hosts[1]', message: /duplicate host/, remedy: /each host once/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\nspec:\n  hosts:\n  - cart\n  - cart # HERE\n  http: [{route: [{destination: {host: cart}}]}]\n' },
  { name: 'an abort without a status', code: 'IST0106', field: 'spec.http[0].fault.abort', message: /exactly one of httpStatus and grpcStatus/, remedy: /set one/, yaml: virtualService(`  - fault:\n      abort: {percentage: {value: 1}} # HERE\n${ROUTE}\n`) },
  { name: 'an unknown gRPC status', code: 'IST0106', field: 'spec.http[0].fault.abort.grpcStatus', message: /"UNAVAILBLE"/, remedy: /did you mean "UNAVAILABLE"\?/, yaml: virtualService(`  - fault:\n      abort:\n        grpcStatus: UNAVAILBLE # HERE\n${ROUTE}\n`) },
  { name: 'an unknown retry condition', code: 'IST0106', field: 'spec.http[0].retries.retryOn', message: /"conect-failure"/, remedy: /did you mean "connect-failure"\?/, yaml: virtualService(`  - retries:\n      attempts: 2\n      retryOn: 5xx,conect-failure # HERE\n${ROUTE}\n`) },
  { name: 'a redirect that changes nothing', code: 'IST0106', field: 'spec.http[0].redirect', message: /changes nothing/, remedy: /uri, authority, scheme or port/, yaml: virtualService('  - name: r\n    redirect: {redirectCode: 302} # HERE\n') },
  { name: 'a redirect code that is none', code: 'IST0106', field: 'spec.http[0].redirect.redirectCode', message: /200 is out of range/, remedy: /300 to 399/, yaml: virtualService('  - name: r\n    redirect:\n      uri: /b\n      redirectCode: 200 # HERE\n') },
  { name: 'server names outside the hosts', code: 'IST0106', field: 'spec.tls[0].match[0].sniHosts[0]', message: /not covered by the hosts/, remedy: /add it to hosts/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\nspec:\n  hosts: [cart]\n  tls:\n  - match:\n    - sniHosts: [other.example.com] # HERE\n    route: [{destination: {host: cart}}]\n' },
  { name: 'a route after one that takes everything', severity: 'warning', code: 'IST0130', field: 'spec.http[1]', message: /http\[0\] takes every request/, remedy: /move http\[0\] to the end/, yaml: virtualService(`  - name: all\n${ROUTE}\n  - match: [{uri: {prefix: /a}}] # HERE\n${ROUTE}\n`) },
  { name: 'a subset named twice', code: 'ORLOP021', field: 'spec.subsets[1].name', message: /duplicate subset "v1"/, remedy: /name of its own/, yaml: destinationRule('  subsets:\n  - {name: v1, labels: {version: v1}}\n  - labels: {version: v2}\n    name: v1 # HERE\n') },
  { name: 'an empty trafficPolicy', code: 'IST0106', field: 'spec.trafficPolicy', message: /empty/, remedy: /remove it/, yaml: destinationRule('  trafficPolicy: {} # HERE\n') },
  { name: 'endpoints that nobody asks for', code: 'IST0106', field: 'spec.endpoints', message: /NONE has no endpoints/, remedy: /STATIC or DNS/, yaml: serviceEntry('  hosts: [api.example.com]\n  endpoints: [{address: 192.0.2.1}] # HERE\n') },
  { name: 'a name where an address belongs', code: 'IST0106', field: 'spec.endpoints[0].address', message: /no IP address/, remedy: /resolution DNS/, yaml: serviceEntry('  hosts: [api.example.com]\n  resolution: STATIC\n  endpoints:\n  - address: api.example.net # HERE\n') },
  { name: 'an unknown protocol', code: 'IST0106', field: 'spec.ports[0].protocol', message: /unknown protocol "HTTP1"/, remedy: /did you mean HTTP/, yaml: serviceEntry('  hosts: [api.example.com]\n  ports:\n  - {number: 80, name: http, protocol: HTTP1} # HERE\n') },
  { name: 'a Service without port number', code: 'IST0106', field: 'spec.ports[0]', message: /port is missing/, remedy: /add port/, yaml: 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - {name: http} # HERE\n' },
  { name: 'a Service with an address that is none', code: 'IST0106', field: 'spec.clusterIP', message: /"none" is neither an IP address nor None/, remedy: /headless/, yaml: 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  clusterIP: none # HERE\n' },
  { name: 'a Service with ports that have no names', code: 'IST0106', field: 'spec.ports[1]', message: /needs a name for each/, remedy: /add name/, yaml: 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - {port: 80, name: http}\n  - {port: 81} # HERE\n' },
  { name: 'a misspelt selector of a Service', code: 'IST0106', field: 'spec.selectr', message: /unknown field/, remedy: /did you mean "selector"\?/, yaml: 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  selectr: {app: x} # HERE\n' },
  { name: 'a wish that is neither', code: 'ORLOP008', field: 'metadata.annotations.orlop.io/mesh', message: /"yes please" is neither/, remedy: /enabled or disabled/, yaml: 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    orlop.io/mesh: yes please # HERE\n' },
  { name: 'an unknown host', code: 'IST0101', field: 'spec.http[0].route[0].destination.host', message: /no service "basket.shop.svc.cluster.local"/, remedy: /Service or a ServiceEntry/, yaml: virtualService('  - route:\n    - destination:\n        host: basket # HERE\n') },
  { name: 'a rule for a service that is not there', severity: 'warning', code: 'ORLOP015', field: 'spec.hosts[1]', message: /no service "carts.shop/, remedy: /correct the name/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\nspec:\n  hosts:\n  - cart\n  - carts # HERE\n  http: [{route: [{destination: {host: cart}}]}]\n' },
  { name: 'a policy for a service that is not there', severity: 'warning', code: 'KIA0202', field: 'spec.host', message: /no service "carts.shop/, remedy: /correct the name/, yaml: 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: shop}\nspec:\n  host: carts # HERE\n' },
  { name: 'a policy for services of which there are none', severity: 'warning', code: 'KIA0202', field: 'spec.host', message: /no service "\*.till/, remedy: /correct the name/, yaml: 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: shop}\nspec:\n  host: "*.till.svc.cluster.local" # HERE\n' },
  { name: 'an unknown subset', code: 'IST0101', field: 'spec.http[0].route[0].destination.subset', message: /unknown subset "v9"/, remedy: /DestinationRule/, yaml: virtualService('  - route:\n    - destination:\n        host: cart\n        subset: v9 # HERE\n') },
  { name: 'an unknown host of a mirror', code: 'IST0101', field: 'spec.http[0].mirror.host', message: /no service "copy.shop/, remedy: /Service or a ServiceEntry/, yaml: virtualService(`  - mirror: {host: copy} # HERE\n${ROUTE}\n`) },
  { name: 'an unknown gateway', code: 'IST0101', field: 'spec.gateways[0]', message: /no Gateway shop\/edge/, remedy: /create it/, yaml: 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\nspec:\n  hosts: [cart]\n  gateways:\n  - edge # HERE\n  http: [{route: [{destination: {host: cart}}]}]\n' },
  { name: 'an unknown delegate', code: 'IST0101', field: 'spec.http[0].delegate', message: /no delegate VirtualService "part"/, remedy: /create it/, yaml: virtualService('  - name: d\n    delegate: {name: part} # HERE\n') },
  { name: 'a field of the request among the headers', severity: 'warning', code: 'ORLOP014', field: 'spec.http[0].match[0].headers.method', message: /"method" is no header/, remedy: /beside headers/, yaml: virtualService(`  - match:\n    - headers:\n        method: {exact: GET} # HERE\n${ROUTE}\n`) },
  { name: 'a claim of a token', severity: 'warning', code: 'ORLOP010', field: 'spec.http[0].match[0].headers.@request.auth.claims.sub', message: /not honoured yet/, remedy: /never taken/, yaml: virtualService(`  - match:\n    - headers:\n        "@request.auth.claims.sub": {exact: a} # HERE\n${ROUTE}\n`) },
  { name: 'a field not honoured yet', severity: 'warning', code: 'ORLOP010', field: 'spec.trafficPolicy.proxyProtocol', message: /not honoured yet/, remedy: /no effect/, yaml: destinationRule('  trafficPolicy:\n    proxyProtocol: {version: V2} # HERE\n') },
  { name: 'a value not honoured yet', severity: 'warning', code: 'ORLOP010', field: 'spec.resolution', message: /"DYNAMIC_DNS" is not honoured yet/, remedy: /NONE, STATIC, DNS/, yaml: serviceEntry('  hosts: [api.example.com]\n  resolution: DYNAMIC_DNS # HERE\n') },
  { name: 'a kind not honoured yet', severity: 'info', code: 'ORLOP011', field: '', message: /Sidecar is not honoured yet/, remedy: /./, yaml: 'apiVersion: networking.istio.io/v1 # HERE\nkind: Sidecar\nmetadata: {name: x}\nspec: {}\n' },
  { name: 'a target not honoured yet', severity: 'warning', code: 'ORLOP012', field: 'spec.targetRefs[0]', message: /kind GatewayClass are not honoured/, remedy: /selector/, yaml: 'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec:\n  targetRefs:\n  - {kind: GatewayClass, name: edge, group: gateway.networking.k8s.io} # HERE\n' },
  { name: 'an unknown field of MeshConfig', code: 'IST0106', field: 'data.mesh.acessLogFile', message: /unknown field/, remedy: /did you mean "accessLogFile"\?/, yaml: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    trustDomain: td\n    acessLogFile: /dev/stdout # HERE\n' },
];

/** Stands beside each mistake, and stays in force. */
const GOOD = application('shop', ['cart']);

describe('a mistake', () => {
  it.each(MISTAKES)('$name', ({ yaml, code, field, message, remedy, severity = 'error' }) => {
    const snapshot = snapshotOf({ 'bad.yaml': yaml, 'good.yaml': GOOD });
    const told = snapshot.problems.find((problem) => problem.file === 'bad.yaml');
    const line = yaml.split('\n').findIndex((text) => text.endsWith('# HERE')) + 1;
    expect(snapshot.problems.map(renderProblem)).toHaveLength(1);
    expect(told).toMatchObject({ file: 'bad.yaml', line, severity, code, field });
    expect(told?.message).toMatch(message);
    expect(told?.remedy).toMatch(remedy);
    expect(snapshot.services.map(({ host }) => host)).toContain('cart.shop.svc.cluster.local');
  });

  it('is one line, with everything in it', () => {
    const snapshot = snapshotOf({ 'cart.yaml': virtualService(`  - timout: 1s\n${ROUTE}\n`), 'good.yaml': GOOD });
    expect(errors(snapshot).map(renderProblem)).toEqual([
      'cart.yaml:8: error [IST0106] VirtualService shop/bad spec.http[0].timout: unknown field "timout" → did you mean "timeout"?',
    ]);
  });
});

describe('several mistakes', () => {
  it('are all told, in order of file and line', () => {
    const snapshot = snapshotOf({
      'b.yaml': virtualService('  - timeout: 10\n    retries: {attempts: many}\n    route: [{destination: {host: 7}}]\n'),
      'a.yaml': 'kind: Nonsense\nmetadata: {name: x}\n---\nkind: Servce\nmetadata: {name: x}\n',
    });
    expect(snapshot.problems.map(({ file, line }) => `${file}:${line}`)).toEqual(['a.yaml:1', 'a.yaml:4', 'b.yaml:8', 'b.yaml:9', 'b.yaml:10']);
  });

  it('in one object leave the others of its file alone', () => {
    const snapshot = snapshotOf({ 'all.yaml': `${GOOD}---${virtualService('  - timeout: soon\n    route: [{destination: {host: cart}}]\n')}---${destinationRule('  subsets: [{name: v1, labels: {version: v1}}]\n')}` });
    expect(errors(snapshot)).toHaveLength(1);
    expect(snapshot.virtualServices).toEqual([]);
    expect(snapshot.destinationRules).toHaveLength(1);
    expect(snapshot.workloads).toHaveLength(1);
  });

  it('the same object twice: the first counts', () => {
    const [one, two] = ['one', 'two'].map((subset) => destinationRule(`  subsets: [{name: ${subset}}]\n`)) as [string, string];
    const snapshot = snapshotOf({ 'a.yaml': one, 'b.yaml': two });
    expect(snapshot.destinationRules.map(({ spec }) => spec.subsets?.[0]?.name)).toEqual(['one']);
    expect(errors(snapshot).map(renderProblem)).toEqual(['b.yaml:2: error [ORLOP005] DestinationRule shop/bad: defined twice; the one at a.yaml:2 is used → remove one of them']);
  });
});
