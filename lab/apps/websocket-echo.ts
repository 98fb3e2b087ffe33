/** A WebSocket server that sends short text messages back (RFC 6455), and ends when it is asked to. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const PORT = Number(process.env['PORT'] ?? 8083);
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const CLOSE = 8;
const HEADER_BYTES = 6;
const LENGTH_MASK = 0x7f;

createServer((_request, response) => {
  response.writeHead(426, { upgrade: 'websocket' }).end('only WebSocket is spoken here\n');
}).on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key'] ?? ''}${GUID}`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let unread = Buffer.alloc(0);
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (let frame = frameOf(unread); frame !== undefined; frame = frameOf(unread)) {
      unread = unread.subarray(HEADER_BYTES + frame.payload.length);
      socket.write(Buffer.concat([Buffer.from([0x80 | frame.opcode, frame.payload.length]), frame.payload]));
      if (frame.opcode === CLOSE) socket.end();
    }
  });
}).listen(PORT, '::', () => {
  process.stdout.write(`websocket-echo listens on ${PORT}\n`);
});

/** A whole frame of up to 125 bytes from a client, which masks what it sends. */
function frameOf(bytes: Buffer): { opcode: number; payload: Buffer } | undefined {
  const [first = 0, second = 0] = bytes;
  const length = second & LENGTH_MASK;
  if (bytes.length < HEADER_BYTES + length) return undefined;
  const mask = bytes.subarray(2, HEADER_BYTES);
  const payload = Buffer.from(bytes.subarray(HEADER_BYTES, HEADER_BYTES + length)).map((byte, index) => byte ^ (mask[index % mask.length] ?? 0));
  return { opcode: first & 0x0f, payload: Buffer.from(payload) };
}
