/** Where policies look at requests, they and the application see one spelling of the path (MeshConfig.pathNormalization). */
import { decidesAnything } from '../../mesh/authorize.ts';
import { normalizePath } from '../../mesh/path.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

export const normalizedPath: Layer = (next) => new NormalizedPath(next);

class NormalizedPath implements Service {
  readonly #next: Service;

  constructor(next: Service) {
    this.#next = next;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { authorization, pathNormalization } = exchange.connection.workload.table.security;
    if (head.method === 'CONNECT' || !decidesAnything(authorization)) return this.#next.serve(exchange, head, response);
    const { path } = head;
    const normal = normalizePath(path, pathNormalization);
    if (normal === path) return this.#next.serve(exchange, head, response);
    // A copy: a client agent on this node may have to send its own again, to somebody else.
    const rewritten = head.clone();
    rewritten.target = `${normal}${head.target.slice(path.length)}`;
    return this.#next.serve(exchange, rewritten, response);
  }
}
