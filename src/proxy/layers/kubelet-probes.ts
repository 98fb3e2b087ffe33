/**
 * Probes of the kubelet go to the application whatever its policies say: they would otherwise decide whether it runs. In Istio the
 * sidecar asks in the kubelet's place; here they are known by where they come from and by what the pod declares.
 */
import type { Admission } from '../admission.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

/** `direct` leads to the application without policies. */
export function kubeletProbes(admission: Admission, direct: Service): Layer {
  return (next) => new KubeletProbes(next, direct, admission);
}

class KubeletProbes implements Service {
  readonly #next: Service;
  readonly #direct: Service;
  readonly #admission: Admission;

  constructor(next: Service, direct: Service, admission: Admission) {
    this.#next = next;
    this.#direct = direct;
    this.#admission = admission;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    return (this.#admission.isProbe(exchange.connection, head) ? this.#direct : this.#next).serve(exchange, head, response);
  }
}
