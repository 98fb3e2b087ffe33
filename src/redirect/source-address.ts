/**
 * The application sees the client's own address, with no conntrack. The agent's socket towards it borrows that address
 * (IP_TRANSPARENT) and carries a mark; tcp_fwmark_accept gives the application's accepted socket the same mark; one routing
 * rule sends what is marked, the replies to a foreign address, back over loopback to the agent (return-path.ts).
 */
import { MARK_INBOUND } from '../sys/layout.ts';
import { connectSocket } from '../sys/socket.ts';
import type { Family } from '../sys/sockaddr.ts';
import { SysError } from '../sys/sys-error.ts';

/**
 * Ports the agent gives its sockets that borrow a client's address. Below the kernel's default range for clients (32768 up),
 * because under eBPF the agent's accepted socket has the address pair (pod, client) already: a port equal to the client's
 * own would make the connection to the application look like the client's.
 */
const BORROWED_PORT_MIN = 16_000;
const BORROWED_PORT_MAX = 32_767;
const BORROW_TRIES_MAX = 64;

/**
 * Loopback is the first interface of every namespace. Bound to it, the socket's packets come in by loopback too, which is how
 * the sk_lookup program knows them; unbound they would seem to come in by the interface that has the pod's address.
 */
const LOOPBACK_INDEX = 1;

let nextPort = BORROWED_PORT_MIN + Math.floor(process.hrtime()[1] % (BORROWED_PORT_MAX - BORROWED_PORT_MIN));

/**
 * A socket for a connection to the pod's application under `clientAddress`; call it inside the pod's `Netns.run`. Returns its
 * fd, bound and not connected. Connect it to the address and port the client meant.
 */
export function openBorrowedSocket(family: Family, clientAddress: string): number {
  for (let tries = 1; ; tries += 1) {
    const bindPort = nextPort;
    nextPort = nextPort === BORROWED_PORT_MAX ? BORROWED_PORT_MIN : nextPort + 1;
    try {
      return connectSocket({ family, mark: MARK_INBOUND, transparent: true, interfaceIndex: LOOPBACK_INDEX, bindAddress: clientAddress, bindPort });
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== 'EADDRINUSE' || tries === BORROW_TRIES_MAX) throw error;
    }
  }
}
