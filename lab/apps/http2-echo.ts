/** An HTTP/2 server without TLS that says what it received; of HTTP/1 it knows nothing. */
import { createServer } from 'node:http2';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { text } from 'node:stream/consumers';
import { whoAmI } from './identity.ts';

const PORT = Number(process.env['PORT'] ?? 8082);

async function answer(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
  const body = await text(request);
  const { httpVersion, method, url, authority } = request;
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify({ ...whoAmI(), httpVersion, method, path: url, authority, body })}\n`);
}

createServer((request, response) => {
  answer(request, response).catch(() => response.stream.close());
}).listen(PORT, '::', () => {
  process.stdout.write(`http2-echo listens on ${PORT}\n`);
});
