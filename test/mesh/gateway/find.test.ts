/** Which server of a port takes a handshake, and which host a request. */
import { describe, expect, it } from 'vitest';
import { findGatewayHost, findServer, findServerHost } from '../../../src/mesh/gateway/find.ts';
import type { TlsPort, TlsServer } from '../../../src/mesh/gateway/table.ts';
import type { HostTable, VirtualHost } from '../../../src/mesh/table.ts';

const virtualHost = (name: string): VirtualHost => ({ name, routes: [], service: undefined });
const hosts = (exact: readonly string[], wildcards: readonly string[] = []): HostTable => ({ exact: new Map(exact.map((name) => [name, virtualHost(name)])), wildcards: wildcards.map((suffix) => ({ suffix, host: virtualHost(`*${suffix}`) })) });
const server = (listener: string, own: HostTable): TlsServer => ({ listener, termination: undefined, hosts: own, routes: [] });

const one = server('one', hosts(['one.example.com']));
const many = server('many', hosts(['two.example.com'], ['.example.com']));
const rest = server('rest', hosts([], ['']));
const port: TlsPort = {
  kind: 'tls', port: 443, listeners: ['one', 'many', 'rest'],
  servers: { exact: new Map([['one.example.com', one]]), wildcards: [{ suffix: '.example.com', server: many }, { suffix: '', server: rest }] },
};

describe('the server of a handshake', () => {
  it('is the most specific one that has the name', () => {
    expect(['one.example.com', 'ONE.example.com', 'two.example.com', 'a.b.example.com', 'example.com', 'other.org', ''].map((name) => findServer(port, name)?.listener)).toEqual(['one', 'one', 'many', 'many', 'rest', 'rest', 'rest']);
  });

  it('is nobody where no listener takes every name', () => {
    const strict: TlsPort = { ...port, servers: { ...port.servers, wildcards: port.servers.wildcards.slice(0, 1) } };
    expect([findServer(strict, 'other.org'), findServer(strict, '')]).toEqual([undefined, undefined]);
  });
});

describe('the host of a request', () => {
  it('is looked for in the listener of the connection', () => {
    expect(findServerHost(port, many, 'two.example.com:8443')).toMatchObject({ name: 'two.example.com' });
    expect(findServerHost(port, many, 'three.example.com')).toMatchObject({ name: '*.example.com' });
  });

  it('of another listener of the port has come to the wrong one', () => {
    expect(findServerHost(port, many, 'one.example.com')).toBe('misdirected');
    expect(findServerHost(port, one, 'other.org')).toBe('misdirected');
  });

  it('that no listener has is not found', () => {
    const strict: TlsPort = { ...port, servers: { ...port.servers, wildcards: port.servers.wildcards.slice(0, 1) } };
    expect(findServerHost(strict, many, 'other.org')).toBeUndefined();
    expect(findGatewayHost(hosts(['a.example.com']), 'b.example.com')).toBeUndefined();
    expect(findGatewayHost(hosts(['a.example.com']), 'A.example.com.:80')).toMatchObject({ name: 'a.example.com' });
  });
});
