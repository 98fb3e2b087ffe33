/** The data plane's way out: connections from the namespace of the pod that they belong to. */
import { Socket, isIPv6 } from 'node:net';
import { SocketTransport } from '../proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../proxy/transport.ts';
import type { Dialer, DialTarget } from '../proxy/upstream.ts';

export class NetnsDialer implements Dialer {
  dial(target: DialTarget, owner: TransportOwner): Transport {
    return SocketTransport.connect(fdFor(target), target.address, target.port, owner);
  }

  socket(target: DialTarget): Socket {
    const socket = new Socket({ fd: fdFor(target), allowHalfOpen: true });
    socket.setNoDelay(true);
    return socket.connect({ host: target.address, port: target.port });
  }
}

function fdFor({ workload: { sockets }, direction, address, clientAddress }: DialTarget): number {
  const family = isIPv6(address) ? 6 : 4;
  return direction === 'outbound' ? sockets.outbound(family) : sockets.inbound(family, clientAddress);
}
