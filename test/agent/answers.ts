/** Of servers on this machine. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** Does anybody listen at this port of the machine? */
export async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const found = await once(socket, 'connect').then(() => true, () => false);
  socket.destroy();
  return found;
}
