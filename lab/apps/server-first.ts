/** A server that speaks first, as SMTP, MySQL and SSH do: it greets, then answers each line with that line. */
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { whoAmI } from './identity.ts';

const PORT = Number(process.env['PORT'] ?? 2525);

createServer((socket) => {
  const { pod, version } = whoAmI();
  socket.on('error', () => undefined);
  socket.write(`220 ${pod} ${version} ready\r\n`);
  createInterface({ input: socket }).on('line', (line) => {
    if (line === 'QUIT') socket.end('221 bye\r\n');
    else socket.write(`250 ${line}\r\n`);
  });
}).listen(PORT, '::', () => {
  process.stdout.write(`server-first listens on ${PORT}\n`);
});
