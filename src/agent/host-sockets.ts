/** Sockets of the node itself, for gateways: nothing of them is captured, and nothing has to be entered to make them. */
import type { SocketFactory } from '../proxy/workload.ts';
import { connectSocket } from '../sys/socket.ts';

export const HOST_SOCKETS: SocketFactory = {
  outbound: (family) => connectSocket({ family }),
  inbound: () => {
    throw new Error('a gateway has no application');
  },
};
