/** The decisions that a gateway's table answers: which server takes a handshake, and which host a request. */
import { hostOf } from '../host.ts';
import { findHost } from '../route.ts';
import type { HostTable, VirtualHost } from '../table.ts';
import type { ServerNameTable, TlsPort, TlsServer } from './table.ts';

/** Who answers a ClientHello; `serverName` is empty where it names none. Undefined: nobody, and the connection is closed. */
export function findServer({ servers }: TlsPort, serverName: string): TlsServer | undefined {
  return serverOf(servers, serverName.toLowerCase());
}

/**
 * The virtual host of a request that came in on a connection to `server`. A request whose Host another server of the port is for has come
 * to the wrong one, over a connection that the client uses again because of a certificate both show: `misdirected`, answered 421 (RFC 9110
 * §15.5.20; Gateway API, Listener.hostname). Undefined: 404.
 */
export function findServerHost({ servers }: TlsPort, server: TlsServer, authority: string): VirtualHost | 'misdirected' | undefined {
  const host = hostOf(authority);
  const meant = serverOf(servers, host);
  if (meant !== undefined && meant !== server) return 'misdirected';
  return meant === undefined || server.hosts === undefined ? undefined : findHost(server.hosts, host);
}

/** The virtual host of a request in plaintext. Undefined: 404. */
export function findGatewayHost(hosts: HostTable, authority: string): VirtualHost | undefined {
  return findHost(hosts, hostOf(authority));
}

function serverOf({ exact, wildcards }: ServerNameTable, name: string): TlsServer | undefined {
  return exact.get(name) ?? wildcards.find(({ suffix }) => name.endsWith(suffix) && (suffix === '' || name.length > suffix.length))?.server;
}
