/** Every bound of the agent in one place, each with its reason. Nothing in Orlop grows without one. */

const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * Request or response head, in bytes. Istio's Envoy allows 60 KiB; tokens in cookies make larger ones common, and the head
 * is held only while it is parsed.
 */
export const HEAD_BYTES_MAX: number = 96 * KIB;

/** Header lines in one head. Envoy's 100 breaks real applications (istio#33622); the bytes are bounded anyway. */
export const HEADER_COUNT_MAX = 256;

/** Trailer section, in bytes. */
export const TRAILER_BYTES_MAX: number = 16 * KIB;

/** One chunk-size line with its extensions, in bytes (RFC 9112 §7.1.1 asks for a limit). */
export const CHUNK_LINE_BYTES_MAX: number = 4 * KIB;

/** A client that opened a connection must finish its first head in this time, or slow heads would hold sockets for ever. */
export const HEAD_TIMEOUT_MS = 60_000;

/** Idle keep-alive connection of a client, no exchange in progress (Istio: 1 h). */
export const DOWNSTREAM_IDLE_TIMEOUT_MS = 3_600_000;

/** Idle upstream connection in a pool, when no DestinationRule says otherwise (Istio: connectionPool.http.idleTimeout 1 h). */
export const UPSTREAM_IDLE_TIMEOUT_MS = 3_600_000;

/** Opaque TCP connection with no byte either way (Istio: connectionPool.tcp.idleTimeout 1 h). */
export const TCP_IDLE_TIMEOUT_MS = 3_600_000;

/** Istio's default connectTimeout. */
export const CONNECT_TIMEOUT_MS = 10_000;

/** Connections one workload may have open through the agent; the next waits in the backlog's place of its own pod only. */
export const WORKLOAD_CONNECTIONS_MAX = 20_000;

/** Bytes one workload may have buffered in the agent (held bodies, retry copies) before new exchanges are refused. */
export const WORKLOAD_BUFFERED_BYTES_MAX: number = 64 * MIB;

/** Request body kept for a retry; a larger body is sent once (Envoy's per-stream buffer is 1 MiB; Linkerd keeps 64 KiB). */
export const RETRY_BODY_BYTES_MAX: number = 256 * KIB;

/** Bytes peeked at to tell the protocol of a connection (a TLS ClientHello must fit for its SNI to be read). */
export const DETECT_BYTES_MAX: number = 16 * KIB;

/** How long an undeclared port's client may be silent before the upstream is dialled in parallel, in case the server speaks first. */
export const DETECT_SILENCE_MS = 5;

/** Bytes of an opaque client kept while its upstream is being connected; then it is not read until the upstream is there. */
export const OPAQUE_EARLY_BYTES_MAX: number = 64 * KIB;

/** Ports one pod remembers as server-speaks-first; a client that dials ever new ports must not grow the list for ever. */
export const OPAQUE_PORTS_MAX = 4_096;

/** Backlog of the captured listeners: clients wait here while a worker restarts (bounded by net.core.somaxconn too). */
export const LISTEN_BACKLOG = 4096;

/** Idle upstream connections kept per endpoint. */
export const POOL_IDLE_MAX = 256;

/** Requests that may wait for a connection of one cluster when no connectionPool limit is set (Envoy: 2^32-1; we bound it). */
export const PENDING_REQUESTS_MAX = 65_536;

/** Files, and bytes per file, of a configuration directory. */
export const CONFIG_FILES_MAX = 10_000;
export const CONFIG_FILE_BYTES_MAX: number = 16 * MIB;

/** Length of a regular expression in a resource (Istio's validation refuses longer ones). */
export const REGEX_CHARS_MAX = 1024;

/** Label sets one worker keeps metrics for; further ones are counted in one series labelled `overflow`. */
export const METRIC_EDGES_MAX = 50_000;

/** A label set that counted nothing for so long is forgotten (Linkerd: 10 min). */
export const METRIC_IDLE_MS = 600_000;

/** Access log text that may wait for standard output; what does not fit is dropped and counted. */
export const ACCESS_LOG_BYTES_MAX: number = 4 * MIB;

/** Grace for exchanges and connections in progress when the agent ends (Istio's terminationDrainDuration is 5 s). */
export const DRAIN_DEADLINE_MS = 5_000;

/** Ports, ranges, addresses or users in one exclusion annotation of a pod: each may become a rule in its namespace. */
export const EXCLUSION_ENTRIES_MAX = 256;

/** Addresses outside the registry that one workload may have connections to, in one cluster, at a time. */
export const ORIGINAL_ENDPOINTS_MAX = 4096;

/** Request body waiting for a mirror that reads slower than the endpoint; a slower one loses the copy. */
export const MIRROR_BUFFER_BYTES_MAX: number = 256 * KIB;

/** Answer of a try that is to be repeated: read to its end up to this size, which keeps the connection; a larger one is cut off. */
export const RETRY_DISCARD_BYTES_MAX: number = 64 * KIB;

/** Idle connection from the agent to a pod's own application: short, because each client address has its own. */
export const APP_IDLE_TIMEOUT_MS = 30_000;

/** Pairs of port and client address that one pod's application has idle connections for; the oldest idle ones are closed. */
export const APP_CLIENTS_MAX = 4096;

/** Endpoints tried for one opaque connection before it is refused. */
export const TCP_CONNECT_ATTEMPTS_MAX = 3;

/** Rest of a request body that is read and dropped, to keep the connection, when its answer came first; a longer one ends it. */
export const DISCARD_BYTES_MAX: number = 64 * KIB;

/** How long a client may take to close its side after the last answer, before it is cut off (RFC 9112 §9.6). */
export const LINGER_MS = 5_000;

/** How often the byte counters of a long opaque connection are brought up to date (Istio: 5 s). */
export const TCP_REPORT_INTERVAL_MS = 5_000;
