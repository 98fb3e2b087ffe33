/** Istio's 25 labels, in its order, and where their values come from (istio_stats; reference contract of the standard metrics). */

/** Label names of the HTTP series. The TCP series lack `response_code` and `grpc_response_status`. */
const LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_service',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_service_name',
  'destination_service_namespace',
  'destination_cluster',
  'request_protocol',
  'response_code',
  'grpc_response_status',
  'response_flags',
  'connection_security_policy',
] as const;

export type Label = (typeof LABELS)[number];

/** One value per label of an edge: everything but the outcome (code, gRPC status, flags), which cells add. */
export type EdgeLabels = Readonly<Record<Exclude<Label, 'response_code' | 'grpc_response_status' | 'response_flags'>, string>>;

/** Envoy's default buckets, which Istio uses for milliseconds and bytes alike. */
export const BUCKETS: readonly number[] = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000];
