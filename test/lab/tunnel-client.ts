/** A foreign client of tunnels: Node's own HTTP/2, with a certificate from the workload socket. It shares no code with the data plane. */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { text } from 'node:stream/consumers';
import type { X509SvidResponse } from '../../src/certs/workload-api/protocol.ts';
import { WorkloadClient } from '../certs/grpc-client.ts';

const HBONE_PORT = 15_008;

/** PEM. */
export interface Svid {
  readonly id: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** The identity of the pod that this process runs in. */
export async function fetchSvid(socketPath: string): Promise<Svid> {
  using client = new WorkloadClient(socketPath);
  const { svids: [svid] } = await client.follow<X509SvidResponse>('FetchX509SVID').next();
  if (svid === undefined) throw new Error('the workload socket has no identity for this process');
  const { spiffeId, x509Svid, x509SvidKey, bundle } = svid;
  const key = createPrivateKey({ key: Buffer.from(x509SvidKey), format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' });
  return { id: spiffeId, cert: pemOf(x509Svid), key, ca: pemOf(bundle) };
}

/** The certificates of a sequence of DER. */
function pemOf(der: Uint8Array): string {
  let pem = '';
  for (let at = 0; at < der.length; ) {
    const length = 4 + (((der[at + 2] ?? 0) << 8) | (der[at + 3] ?? 0));
    pem += new X509Certificate(der.slice(at, at + length)).toString();
    at += length;
  }
  return pem;
}

export interface Tunnel {
  readonly session: ClientHttp2Session;
  readonly tls: TLSSocket;
}

/** TLS to a pod's port 15008, and HTTP/2 in it. Rejects when either end ends it. */
export async function openTunnel(address: string, options: ConnectionOptions): Promise<Tunnel> {
  const tls = connectTls({ host: address, port: HBONE_PORT, ALPNProtocols: ['h2'], checkServerIdentity: () => undefined, ...options });
  const session = connectHttp2('https://tunnel', { createConnection: () => tls, settings: { initialWindowSize: 4 << 20, maxFrameSize: 1 << 20 } });
  await new Promise<void>((resolve, reject) => {
    session.once('error', reject);
    tls.once('error', reject);
    tls.once('close', () => reject(new Error('the connection was closed')));
    session.once('close', () => reject(new Error('the tunnel was closed')));
    // In TLS 1.3 a client is done before the server has judged it: only its SETTINGS say that it is let in.
    session.once('remoteSettings', () => resolve());
  });
  for (const end of [session, tls]) end.on('error', () => undefined);
  return { session, tls };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly stream: ClientHttp2Stream;
}

/** Ask for a connection to `authority`. */
export async function connectThrough({ session }: Tunnel, authority: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const stream = session.request({ [constants.HTTP2_HEADER_METHOD]: 'CONNECT', [constants.HTTP2_HEADER_AUTHORITY]: authority, ...headers }, { endStream: false });
  return new Promise((resolve, reject) => {
    stream.once('response', (received) => resolve({ status: Number(received[':status']), headers: received, stream }));
    stream.once('error', reject);
    stream.once('close', () => reject(new Error(`the stream was closed with ${stream.rstCode}`)));
  });
}

/** One HTTP/1.1 request through a connection of a tunnel; everything that came back. */
export async function askThrough(tunnel: Tunnel, authority: string, request: string): Promise<string> {
  const { status, stream } = await connectThrough(tunnel, authority);
  if (status !== 200) throw new Error(`CONNECT ${authority}: ${status}`);
  stream.end(request);
  return text(stream);
}
