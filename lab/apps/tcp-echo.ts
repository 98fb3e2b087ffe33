/** Sends back every byte, and its end of the connection after the client's: what half-close is tried with. */
import { createServer } from 'node:net';

const PORT = Number(process.env['PORT'] ?? 9000);

createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined);
  socket.pipe(socket);
}).listen(PORT, '::', () => {
  process.stdout.write(`tcp-echo listens on ${PORT}\n`);
});
