/** Just enough of an HTTP/1.1 response reader for load generators: the status, and the body by its Content-Length. */

export interface Response {
  readonly status: number;
  readonly body: string;
}

/** Reads one response from the start of `bytes`; undefined while it is incomplete. Throws when its end cannot be known. */
export function readResponse(bytes: Buffer): Response | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = bytes.toString('latin1', 0, headEnd);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (length === null) throw new Error(`response without Content-Length: ${head}`);
  const bodyStart = headEnd + 4;
  const bodyEnd = bodyStart + Number(length[1]);
  if (bytes.length < bodyEnd) return undefined;
  if (bytes.length > bodyEnd) throw new Error('more bytes than the response to the one request in flight');
  return { status: Number(head.slice(9, 12)), body: bytes.toString('latin1', bodyStart, bodyEnd) };
}
