/** SETTINGS (RFC 9113 §6.5): what each end asks of the other. */
import { HEAD_BYTES_MAX, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_STREAMS_MAX, HTTP2_STREAM_WINDOW_BYTES } from '../../core/limits.ts';
import { DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES, FLOW_CONTROL_ERROR, FRAME_BYTES_MAX, FRAME_SIZE_ERROR, Http2Error, PROTOCOL_ERROR, SETTINGS, WINDOW_MAX, frameHeader, uint32 } from './protocol.ts';

const HEADER_TABLE_SIZE = 1;
const ENABLE_PUSH = 2;
const MAX_CONCURRENT_STREAMS = 3;
const INITIAL_WINDOW_SIZE = 4;
const MAX_FRAME_SIZE = 5;
const MAX_HEADER_LIST_SIZE = 6;

/** How one end of a connection is set up: what it announces, and what it holds itself to. */
export interface Http2Settings {
  /** What the peer may send on a stream before it is told that some was consumed, in bytes. */
  readonly streamWindowBytes: number;
  /** The same for the connection as a whole. */
  readonly connectionWindowBytes: number;
  /** Largest payload of a frame the peer may send. */
  readonly frameBytes: number;
  /** Of a decoded header section, in bytes as RFC 9113 §6.5.2 counts them. */
  readonly headerListBytes: number;
  /** Streams the peer may have open (server), or that are opened at most whatever the peer allows (client). */
  readonly streams: number;
  /** Probe a connection that said nothing for so long; 0 = never. And give it up when no answer came within the second. */
  readonly pingAfterMs: number;
  readonly pingTimeoutMs: number;
}

/** For connections with applications, at either end; whoever keeps them closes what is idle. */
export const APPLICATION: Http2Settings = Object.freeze({
  streamWindowBytes: HTTP2_STREAM_WINDOW_BYTES,
  connectionWindowBytes: HTTP2_CONNECTION_WINDOW_BYTES,
  frameBytes: DEFAULT_FRAME_BYTES,
  headerListBytes: HEAD_BYTES_MAX,
  streams: HTTP2_STREAMS_MAX,
  pingAfterMs: 0,
  pingTimeoutMs: 0,
});

/** What the peer has asked for. */
export class PeerSettings {
  headerTableBytes = 4096;
  /** Infinity until it says otherwise (§6.5.2). */
  streams = Infinity;
  windowBytes = DEFAULT_WINDOW_BYTES;
  frameBytes = DEFAULT_FRAME_BYTES;
  headerListBytes = Infinity;

  /** Take in the payload of a SETTINGS frame. @throws Http2Error */
  read(payload: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += 6) this.#set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
  }

  #set(name: number, value: number): void {
    switch (name) {
      case HEADER_TABLE_SIZE:
        this.headerTableBytes = value;
        return;
      case ENABLE_PUSH:
        if (value > 1) throw new Http2Error(PROTOCOL_ERROR, 'ENABLE_PUSH is neither 0 nor 1');
        return;
      case MAX_CONCURRENT_STREAMS:
        this.streams = value;
        return;
      case INITIAL_WINDOW_SIZE:
        if (value > WINDOW_MAX) throw new Http2Error(FLOW_CONTROL_ERROR, 'INITIAL_WINDOW_SIZE is too large');
        this.windowBytes = value;
        return;
      case MAX_FRAME_SIZE:
        if (value < DEFAULT_FRAME_BYTES || value > FRAME_BYTES_MAX) throw new Http2Error(PROTOCOL_ERROR, 'MAX_FRAME_SIZE is out of range');
        this.frameBytes = value;
        return;
      case MAX_HEADER_LIST_SIZE:
        this.headerListBytes = value;
        return;
      default:
      // Unknown settings are ignored (§6.5.2).
    }
  }
}

/** The SETTINGS frame that opens a connection. */
export function settingsFrame({ streamWindowBytes, frameBytes, headerListBytes, streams }: Http2Settings, end: 'client' | 'server'): string {
  const entries: [number, number][] = [
    end === 'client' ? [ENABLE_PUSH, 0] : [MAX_CONCURRENT_STREAMS, streams],
    [INITIAL_WINDOW_SIZE, streamWindowBytes],
    [MAX_FRAME_SIZE, frameBytes],
    [MAX_HEADER_LIST_SIZE, headerListBytes],
  ];
  let payload = '';
  for (const [name, value] of entries) payload += String.fromCharCode(0, name) + uint32(value);
  return frameHeader(payload.length, SETTINGS, 0, 0) + payload;
}

/** @throws Http2Error when the length of a SETTINGS frame cannot be right. */
export function checkSettingsLength(length: number, isAck: boolean): void {
  if (isAck ? length !== 0 : length % 6 !== 0) throw new Http2Error(FRAME_SIZE_ERROR, 'SETTINGS of a wrong length');
}
