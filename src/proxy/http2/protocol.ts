/** The numbers of HTTP/2 (RFC 9113 §6, §7, §11), and frames as text: what is small leaves gathered, and text is what gathers best. */

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** Of DATA and HEADERS. */
export const END_STREAM = 0x1;
/** Of SETTINGS and PING. */
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const PRIORITY_GIVEN = 0x20;

export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const INTERNAL_ERROR = 2;
export const FLOW_CONTROL_ERROR = 3;
export const STREAM_CLOSED = 5;
export const FRAME_SIZE_ERROR = 6;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const COMPRESSION_ERROR = 9;
export const CONNECT_ERROR = 10;
export const ENHANCE_YOUR_CALM = 11;

const ERROR_NAMES = [
  'NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR', 'REFUSED_STREAM', 'CANCEL',
  'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM', 'INADEQUATE_SECURITY', 'HTTP_1_1_REQUIRED',
];

/** Name of an error code, for people. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `error 0x${code.toString(16)}`;
}

/** What a client says first (RFC 9113 §3.4). */
export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

export const FRAME_HEADER_BYTES = 9;
export const WINDOW_MAX = 0x7fff_ffff;
export const STREAM_ID_MAX = 0x7fff_ffff;
/** What holds until SETTINGS say otherwise (§6.5.2). */
export const DEFAULT_WINDOW_BYTES = 65_535;
export const DEFAULT_FRAME_BYTES = 16_384;
export const FRAME_BYTES_MAX = 16_777_215;

/** The connection is over: a GOAWAY says why (§5.4.1). */
export class Http2Error extends Error {
  readonly code: number;

  constructor(code: number, reason: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(`${reason} (${errorName(code)})`);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'Http2Error';
    this.code = code;
  }
}

/** The nine bytes before a payload (§4.1), as latin1 text. */
export function frameHeader(length: number, type: number, flags: number, streamId: number): string {
  return String.fromCharCode(length >>> 16, (length >>> 8) & 255, length & 255, type, flags) + uint32(streamId);
}

export function uint32(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

export function windowUpdate(streamId: number, bytes: number): string {
  return frameHeader(4, WINDOW_UPDATE, 0, streamId) + uint32(bytes);
}

export function rstStream(streamId: number, code: number): string {
  return frameHeader(4, RST_STREAM, 0, streamId) + uint32(code);
}

export function goAway(lastStreamId: number, code: number): string {
  return frameHeader(8, GOAWAY, 0, 0) + uint32(lastStreamId) + uint32(code);
}

/** `payload`: eight octets of latin1 text. */
export function ping(payload: string, flags: number): string {
  return frameHeader(8, PING, flags, 0) + payload;
}
