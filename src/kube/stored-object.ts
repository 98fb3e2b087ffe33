/** An object as an API server has it, to whoever writes its status. */
import type { ApiObject } from './api-client.ts';

/** Who writes it, in metadata.managedFields. */
export const STATUS_MANAGER = 'orlop-control';

/** Where it is known. */
export interface StoredName {
  /** `/apis/networking.istio.io/v1/virtualservices` */
  readonly collection: string;
  /** As a snapshot calls it: `VirtualService bookinfo/reviews`. */
  readonly name: string;
}

export interface StoredObject extends StoredName {
  /** `/apis/networking.istio.io/v1/namespaces/bookinfo/virtualservices/reviews` */
  readonly path: string;
  /** What is kept of it, as snapshots are made of it. */
  readonly value: ApiObject;
  /** metadata.resourceVersion */
  readonly version: string;
  /** metadata.generation: counts changes of its spec; 0 where the kind has none. */
  readonly generation: number;
  /** Empty when nobody has written one. */
  readonly status: ApiObject;
}
