/**
 * The `local` upstream: the endpoint's pod is enrolled on this node, so the exchange goes straight into that pod's inbound
 * stack. One hop, no wire, no serialisation; the server's side still sees an exchange of its own and reports as `destination`.
 */
import type { Clock } from '../core/clock.ts';
import type { Protocol } from '../mesh/table.ts';
import type { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import type { Endpoint } from './endpoint.ts';
import type { RequestSink } from './exchange.ts';
import { Exchange } from './record.ts';
import type { WorkloadHandle } from './workload.ts';

/** Hand the attempt to the inbound stack of `pod`; `client` is the captured connection it came from, `protocol` that of the cluster. */
export function serveLocally(pod: WorkloadHandle, endpoint: Endpoint, client: Connection, protocol: Protocol, attempt: Attempt, clock: Clock): RequestSink {
  const connection = localConnection(pod, endpoint, client, protocol);
  attempt.begun(false, clientAddress(client, endpoint.address));
  const exchange = new Exchange('destination', connection, undefined, clock.nowMs());
  return pod.inbound(connection).serve(exchange, attempt.requestHead, attempt);
}

/** The connection that the server's side would have accepted, had there been a wire. */
export function localConnection(pod: WorkloadHandle, endpoint: Endpoint, client: Connection, protocol: Protocol): Connection {
  const { peer } = client.onward ?? client;
  return {
    workload: pod,
    direction: 'inbound',
    peer,
    remoteAddress: clientAddress(client, endpoint.address),
    remotePort: client.remotePort,
    destinationAddress: endpoint.address,
    destinationPort: endpoint.port,
    serverName: client.serverName,
    protocol,
  };
}

/**
 * The client's address as the endpoint is to see it: its pod's, in the endpoint's family. Capture may have taken the connection
 * over loopback, and the client may have dialled a VIP of the other family.
 */
function clientAddress(client: Connection, endpoint: string): string {
  const { workload } = client;
  const { remoteAddress } = client.onward ?? client;
  const isV6 = endpoint.includes(':');
  if (remoteAddress.includes(':') === isV6 && !isLoopback(remoteAddress)) return remoteAddress;
  return workload.addresses.find((address) => address.includes(':') === isV6) ?? remoteAddress;
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
