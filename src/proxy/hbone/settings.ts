/** HTTP/2 as HBONE sets it up (ztunnel's defaults), for either end. */
import {
  HBONE_CONNECTION_WINDOW_BYTES, HBONE_FRAME_BYTES, HBONE_HEADER_LIST_BYTES, HBONE_PING_AFTER_MS, HBONE_PING_TIMEOUT_MS, HBONE_STREAMS_OPENED_MAX, HBONE_STREAMS_TAKEN_MAX,
  HBONE_STREAM_WINDOW_BYTES,
} from '../../core/limits.ts';
import type { Http2Settings } from '../http2/settings.ts';

const COMMON: Omit<Http2Settings, 'streams'> = {
  streamWindowBytes: HBONE_STREAM_WINDOW_BYTES,
  connectionWindowBytes: HBONE_CONNECTION_WINDOW_BYTES,
  frameBytes: HBONE_FRAME_BYTES,
  headerListBytes: HBONE_HEADER_LIST_BYTES,
  pingAfterMs: HBONE_PING_AFTER_MS,
  pingTimeoutMs: HBONE_PING_TIMEOUT_MS,
};

export const TUNNEL_CLIENT: Http2Settings = Object.freeze({ ...COMMON, streams: HBONE_STREAMS_OPENED_MAX });
export const TUNNEL_SERVER: Http2Settings = Object.freeze({ ...COMMON, streams: HBONE_STREAMS_TAKEN_MAX });
