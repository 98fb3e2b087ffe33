/** Changes the path and the authority that the upstream sees; after the header operations, which may still name the old ones. */
import type { Rewrite } from '../../mesh/table.ts';
import { applyRewrite } from '../../mesh/route.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

export function rewrite(rule: Rewrite | undefined): Layer | undefined {
  return rule === undefined ? undefined : (next) => new RewriteLayer(next, rule);
}

class RewriteLayer implements Service {
  readonly #next: Service;
  readonly #rule: Rewrite;

  constructor(next: Service, rule: Rewrite) {
    this.#next = next;
    this.#rule = rule;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    if (this.#rule.path !== undefined) head.target = applyRewrite(this.#rule, head.target);
    if (this.#rule.authority !== undefined) head.setAuthority(this.#rule.authority);
    return this.#next.serve(exchange, head, response);
  }
}
