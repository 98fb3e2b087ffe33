import { describe, expect, it } from 'vitest';
import { Zone } from '../../src/lab/zone.ts';
import { readyBut, TWO_NODES, WEB, worldOf } from './world.ts';

const HEADLESS = `${TWO_NODES.replace('nodes:', 'hosts: {www.example.com: [192.0.2.1, "2001:db8::1"]}\n  nodes:')}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {hostname: db-0, subdomain: db, containers: [{name: db, command: [x], ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, namespace: shop, labels: {app: db}}
spec: {containers: [{name: db, command: [x], ports: [{name: sql, containerPort: 5433}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432, targetPort: sql}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-alias, namespace: shop}
spec: {type: ExternalName, externalName: www.example.com}
`;

function ask(text: string, name: string, type: 'A' | 'AAAA' | 'SRV' | 'TXT', notReady: string[] = []): unknown {
  const world = worldOf(text);
  const { found, answers } = new Zone(world, readyBut(world, ...notReady), [{ host: 'api.partner.test', addresses: ['240.0.0.9'] }]).answer({ name, type });
  return found ? answers.map((answer) => ('data' in answer ? answer.data : undefined)) : 'NXDOMAIN';
}

describe('names of a lab', () => {
  it('a Service is its virtual addresses, whatever the case of the question', () => {
    expect(ask(WEB, 'web.shop.svc.cluster.local', 'A')).toEqual(['10.7.254.1']);
    expect(ask(WEB, 'WEB.shop.SVC.cluster.local', 'AAAA')).toEqual(['fd00:7:fe::1']);
    expect(ask(WEB, '_http._tcp.web.shop.svc.cluster.local', 'SRV')).toEqual([{ port: 80, target: 'web.shop.svc.cluster.local', priority: 0, weight: 100 }]);
  });

  it('a headless Service is its ready pods, each with a name of its own', () => {
    expect(ask(HEADLESS, 'db.shop.svc.cluster.local', 'A')).toEqual(['10.7.1.2', '10.7.2.2']);
    expect(ask(HEADLESS, 'db.shop.svc.cluster.local', 'A', ['db-1'])).toEqual(['10.7.1.2']);
    expect(ask(HEADLESS, 'db-0.db.shop.svc.cluster.local', 'AAAA')).toEqual(['fd00:7:1::2']);
    expect(ask(HEADLESS, '_sql._tcp.db.shop.svc.cluster.local', 'SRV')).toEqual([
      { port: 5432, target: 'db-0.db.shop.svc.cluster.local', priority: 0, weight: 100 },
      { port: 5433, target: '10-7-2-2.db.shop.svc.cluster.local', priority: 0, weight: 100 },
    ]);
  });

  it('external names are what the Lab, a ServiceEntry or an ExternalName Service says', () => {
    expect(ask(HEADLESS, 'www.example.com', 'AAAA')).toEqual(['2001:db8::1']);
    expect(ask(HEADLESS, 'api.partner.test', 'A')).toEqual(['240.0.0.9']);
    expect(ask(HEADLESS, 'web-alias.shop.svc.cluster.local', 'A')).toEqual(['www.example.com', '192.0.2.1']);
  });

  it('a name without records of a type exists; any other does not', () => {
    expect(ask(WEB, 'web.shop.svc.cluster.local', 'TXT')).toEqual([]);
    expect(ask(WEB, 'web.other.svc.cluster.local', 'A')).toBe('NXDOMAIN');
    expect(ask(WEB, 'example.org', 'A')).toBe('NXDOMAIN');
  });
});
