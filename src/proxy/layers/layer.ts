/** A layer wraps a service in another. A stack is a list of them, outermost first. */
import type { Service } from '../exchange.ts';

export type Layer = (next: Service) => Service;

/** Put `layers` around `inner`, the first one outermost. Those that are `undefined` are not needed here and cost nothing. */
export function stack(layers: readonly (Layer | undefined)[], inner: Service): Service {
  return layers.reduceRight((next, layer) => (layer === undefined ? next : layer(next)), inner);
}
