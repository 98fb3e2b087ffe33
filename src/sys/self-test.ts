/** What the agent asks of the machine, tried once at start, so that a missing right or kernel feature is named before any pod is touched. */
import { Netns } from './netns.ts';
import { closeFd, connectSocket, listenTcp } from './socket.ts';

/**
 * Enter a network namespace, make the sockets capture needs, read a netns cookie. Throws SysError naming what is missing and
 * the remedy. Leaves nothing behind.
 */
export function selfTest(): void {
  using netns = Netns.self();
  netns.run(() => {
    const outbound = connectSocket({ family: 4, mark: 0x539 });
    closeFd(outbound);
    // TEST-NET-1 (RFC 5737) is nobody's address: only IP_TRANSPARENT lets a socket bind it.
    const inbound = connectSocket({ family: 4, mark: 0x111, transparent: true, bindAddress: '192.0.2.1' });
    closeFd(inbound);
    const listener = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1, reusePort: true });
    closeFd(listener);
  });
  if (netns.cookie === 0n) throw new Error('the kernel gives network namespaces no cookie; Linux 5.14 or newer is needed');
}
