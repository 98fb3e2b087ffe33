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

/** How long the next agent may take to enrol all pods, once it has their sockets; nothing else changes the node's capture meanwhile. */
export const HAND_OVER_DEADLINE_MS = 30_000;

/** A message between two agents while one hands over: the longest lists the identities of a node. */
export const HAND_OVER_LINE_BYTES_MAX: number = MIB;

/** A connection that an agent kept when it handed over, and on which nothing has been asked for so long, is closed: its client is not about to ask. */
export const HANDED_OVER_IDLE_MS = 10_000;

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

/** Streams of one HTTP/2 connection of a client (Envoy's default is 2^31-1, Go's 250; RFC 9113 §6.5.2 advises 100 or more). */
export const HTTP2_STREAMS_MAX = 250;

/**
 * HTTP/2 windows of captured connections: what a slow reader may make the agent hold for one stream, and for all of them. Many
 * times the first, so that a few streams that stand still do not hold up the others; {@link WORKLOAD_BUFFERED_BYTES_MAX} bounds the sum.
 */
export const HTTP2_STREAM_WINDOW_BYTES: number = 256 * KIB;
export const HTTP2_CONNECTION_WINDOW_BYTES: number = 16 * MIB;

/** Frames that bring nothing forward (resets, pings, settings, empty data): a burst, and then a rate, as nghttp2 allows. */
export const HTTP2_IDLE_FRAMES_BURST = 1000;
export const HTTP2_IDLE_FRAMES_PER_SECOND = 100;

/** CONTINUATION frames of one header section (CVE-2024-27316). */
export const HTTP2_CONTINUATIONS_MAX = 64;

/** Streams that were reset here and whose frames may still be on their way. */
export const HTTP2_RESET_STREAMS_KEPT = 256;

/** How long the frames of a connection that is being drained may cross (RFC 9113 §6.8), before its last stream is named. */
export const HTTP2_GOAWAY_GRACE_MS = 1_000;

/** PEM of one certificate signing request: an RSA key of 4096 bits with its names takes 2 KiB. */
export const CSR_BYTES_MAX: number = 16 * KIB;

/**
 * Connections one pod may have to the workload socket, and streams on each. Envoy takes one connection with a stream for each name it
 * watches, an application one or two. Together with the size of a request they bound what a pod can make the agent hold: 32 MiB.
 */
export const WORKLOAD_API_CONNECTIONS_MAX = 16;
export const WORKLOAD_API_STREAMS_MAX = 16;

/** One request on the workload socket. Envoy 1.40 sends 60 KiB, most of it the list of its extensions; Istio's adds its metadata. */
export const WORKLOAD_API_MESSAGE_BYTES_MAX: number = 128 * KIB;

/** What Node may hold of one connection to the workload socket besides (headers, pings, what the client does not read), in MB. */
export const WORKLOAD_API_SESSION_MB_MAX = 2;

/** Connections of callers that are no pod of this node: each lasts no longer than it takes to be told so. */
export const WORKLOAD_API_STRANGERS_MAX = 16;

/** How long a refused caller's connection may stay; its next one is attested anew, so a pod that joins meanwhile is recognised. */
export const WORKLOAD_API_STRANGER_MS = 2_000;

/** Names one SDS stream may be subscribed to; the ones that exist are four. */
export const SDS_NAMES_MAX = 64;

/** A name in an SDS request: the length of the longest SPIFFE id (SPIFFE-ID §2.3). */
export const SDS_NAME_CHARS_MAX = 2_048;

/** How long a caller whose certificate has not been issued yet is kept waiting before it is told to try again. */
export const WORKLOAD_API_WAIT_MS = 30_000;

/** Different complaints about one client of the workload socket that are logged in one interval, each once. */
export const NOTICES_MAX = 16;
export const NOTICE_INTERVAL_MS = 60_000;

/** Certificates that one node requests at a time; with many identities the others wait their turn. */
export const CERTIFICATE_REQUESTS_MAX = 16;

/** Certificates in a chain that a CA answers with. */
export const CHAIN_CERTIFICATES_MAX = 10;

/** A token. Identity providers that list a user's groups write some KiB; a head as a whole may have {@link HEAD_BYTES_MAX}. */
export const JWT_CHARS_MAX: number = 16 * KIB;

/** Genuine tokens that a worker remembers, and the characters of their payloads: a signature check costs 50 to 100 µs. */
export const TOKENS_CACHED_MAX = 8_192;
export const TOKEN_CACHE_CHARS_MAX: number = 8 * MIB;

/** Requests of one worker that may wait for keys or for signatures to be checked; further ones are refused (503). */
export const JWT_WAITING_MAX = 4_096;

/** Keys read from one key set. Issuers publish two or three; a token that names none is tried with all of its algorithm. */
export const JWKS_KEYS_MAX = 64;

/** A key set, or a discovery document. */
export const JWKS_BYTES_MAX: number = 256 * KIB;

/** Key sets the agent of a node keeps fresh. */
export const JWKS_TARGETS_MAX = 1_024;

/** Keys are fetched again at this age (Istio's resolver: 20 min), and after a failure this soon, doubling up to it. */
export const JWKS_REFRESH_MS = 1_200_000;
export const JWKS_RETRY_MS = 5_000;

/** A token that names an unknown key has the keys fetched at once, but no more often: clients choose what tokens name. */
export const JWKS_EXTRA_REFRESH_MS = 30_000;

/** Redirects followed on the way to one document. */
export const JWKS_REDIRECTS_MAX = 3;

/** Inline key sets that a worker keeps in usable form. */
export const KEY_RINGS_MAX = 256;

/** Fetching a key set to check tokens with, when the rule says nothing else (Istio: JWTRule.timeout 5 s). */
export const JWKS_TIMEOUT_MS = 5_000;

/** An external authorizer's answer, when its provider says nothing else (Istio: 600 s). */
export const EXT_AUTHZ_TIMEOUT_MS = 600_000;

/** One request to the CA, and its headers: a signing request with its names, and a token. */
export const CA_REQUEST_BYTES_MAX: number = 64 * KIB;

/** One answer of the CA: a chain, and as many roots as operators pile up. */
export const CA_ANSWER_BYTES_MAX: number = 1 * MIB;

/** How long the CA may take for an answer. Rotation counts on it: an answer under way is no older than its margin (certs/rotation.ts). */
export const CA_DEADLINE_MS = 10_000;

/** Requests that one connection to the CA may have under way. */
export const CA_STREAMS_MAX = 100;

/** Connections to the CA end when they are idle or old: agents need them twice a day, and new ones see its newest certificate. */
export const CA_CONNECTION_IDLE_MS = 300_000;
export const CA_CONNECTION_AGE_MS = 1_800_000;

/** Certificates for one node: a burst when all its pods come at once, and then a rate far above renewals of a minute's lifetime. */
export const SIGNINGS_BURST = 1000;
export const SIGNINGS_PER_SECOND = 50;

/** Signatures the CA works on at a time; each takes about a millisecond. */
export const SIGNINGS_UNDER_WAY_MAX = 256;

/** Lines in a file of node tokens; each is compared for each request. */
export const NODE_TOKENS_MAX = 5_000;

/** A TLS handshake, from the first byte to the peer's certificate. */
export const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;

/** Handshakes that one client may leave unfinished at one pod: others must find room beside it. */
export const TLS_HANDSHAKES_PER_CLIENT_MAX = 256;

/** How long a connection waits for the certificate of its own pod, which may just have come. */
export const CERTIFICATE_WAIT_MS = 5_000;

/** HBONE (ztunnel's defaults): what one stream, and one tunnel, may have on its way. */
export const HBONE_STREAM_WINDOW_BYTES: number = 4 * MIB;
export const HBONE_CONNECTION_WINDOW_BYTES: number = 16 * MIB;
export const HBONE_FRAME_BYTES: number = MIB;
export const HBONE_HEADER_LIST_BYTES: number = 64 * KIB;

/** Connections in one tunnel: ztunnel opens up to 100, and takes up to 200. */
export const HBONE_STREAMS_OPENED_MAX = 100;
export const HBONE_STREAMS_TAKEN_MAX = 200;

/** A silent tunnel is asked for a sign of life, and given up without one. */
export const HBONE_PING_AFTER_MS = 10_000;
export const HBONE_PING_TIMEOUT_MS = 20_000;

/** A tunnel without a stream is kept so long. */
export const HBONE_IDLE_TIMEOUT_MS = 300_000;

/** One file of a CA that is given: certificates, or a key. */
export const GIVEN_FILE_BYTES_MAX: number = 1 * MIB;

/** Roots that are trusted at a time; every handshake may look at each. */
export const ROOTS_MAX = 10;

/** What a CA keeps: its roots, their keys and what signs; some 4 KiB while the root is being changed. */
export const CA_STATE_BYTES_MAX: number = 256 * KIB;

/** Questions that one workload may have under way with its external authorizers. */
export const EXT_AUTHZ_CHECKS_MAX = 1_024;

/** What an external authorizer may answer: a refusal's page at most. */
export const EXT_AUTHZ_ANSWER_BYTES_MAX: number = 256 * KIB;

/** A probe of the kubelet that only connects; its own timeout is one second, unless its pod says otherwise. */
export const TCP_PROBE_TIMEOUT_MS = 30_000;

/** One answer of a Kubernetes API server: 500 pods have some 10 MiB, and an object may have 1.5. */
export const API_ANSWER_BYTES_MAX: number = 128 * MIB;

/** A file of certificates or a key that a DestinationRule names. */
export const CERTIFICATE_FILE_BYTES_MAX: number = MIB;

/**
 * Statuses of pods that one agent writes: a burst for pods that are annotated one by one, then a rate that 500 agents can have together when all
 * of a cluster is annotated at once (etcd takes some ten thousand writes a second).
 */
export const POD_STATUS_WRITES_BURST = 20;
export const POD_STATUS_WRITES_PER_SECOND = 10;

/** Events that wait for an API server that is away; the oldest are dropped, as the annotations tell how things are. */
export const POD_EVENTS_WAITING_MAX = 200;

/** Text of an event (kubernetes.io/docs/reference/kubernetes-api, Event `note`: 1 kB). */
export const POD_EVENT_CHARS_MAX = 1_000;

/** One question of the CNI plugin (it writes 16 KiB at most), and how many may wait for an answer: a node starts 110 pods at once at most. */
export const CNI_QUESTION_BYTES_MAX: number = 16 * KIB;
export const CNI_QUESTIONS_MAX = 256;

/** How long the plugin may be told to wait; a kubelet gives a sandbox four minutes. */
export const CNI_WAIT_MS_MAX = 120_000;

/** A network configuration of a node: the largest that plugins write have some KiB. */
export const CNI_CONFIG_BYTES_MAX: number = 256 * KIB;

/** A question of an API server to the webhook: an object as it is and as it shall be, which etcd bounds at 1.5 MiB each, and what is said of them. */
export const ADMISSION_REQUEST_BYTES_MAX: number = 8 * MIB;

/** Of all questions that are under way: whoever reaches the port may ask, and API servers do not wait for the answer. */
export const ADMISSION_BYTES_UNDER_WAY_MAX: number = 32 * MIB;
export const ADMISSION_CONNECTIONS_MAX = 256;
export const ADMISSION_REQUEST_MS_MAX = 5_000;

/** Statuses that the control plane writes: as many objects as a large mesh has within minutes, and far below what API servers let one client ask. */
export const STATUS_WRITES_PER_SECOND = 50;
export const STATUS_WRITES_BURST = 100;

/** A Secret or ConfigMap with certificates that gateways show or trust; Kubernetes allows a megabyte. */
export const CREDENTIAL_BYTES_MAX: number = 256 * KIB;

/** Secrets and ConfigMaps that the control plane keeps for gateways; each is asked for every few seconds. */
export const CREDENTIALS_MAX = 2_000;

/** A node's stream of its gateways' certificates: how long it lasts before the agent proves anew who it is, and how many it may have. */
export const CREDENTIAL_STREAM_MS = 600_000;
export const CREDENTIAL_STREAMS_PER_NODE_MAX = 4;

/**
 * Entries of one list or map in a resource (Istio's own definitions have 4,096 for endpoints; long lists of networks have some thousands), characters of
 * all its regular expressions (a short one counts as 128: a thousand of them take a second to compile at the worst), and what is said against it:
 * whoever may write an object, or ask the webhook about one, must not keep the process busy with it.
 */
export const RESOURCE_ENTRIES_MAX = 10_000;
export const RESOURCE_REGEX_CHARS_MAX: number = 128 * KIB;
export const RESOURCE_PROBLEMS_MAX = 100;
