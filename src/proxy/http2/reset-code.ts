/** Why streams are reset, between the codes of HTTP/2 and errors of exchanges. */
import { MeshError } from '../../core/errors.ts';
import { CANCEL, CONNECT_ERROR, NO_ERROR } from './protocol.ts';

/** The code that tells the peer why its stream ends; `otherwise`, where the error is none of a tunnel. */
export function resetCode(error: MeshError, otherwise: number): number {
  switch (error.code) {
    case 'tunnel_reset':
      // The connection behind a tunnel was reset (RFC 9113 §8.5).
      return CONNECT_ERROR;
    case 'tunnel_closed':
      return CANCEL;
    default:
      return otherwise;
  }
}

/** What a reset means in a tunnel: ztunnel takes NO_ERROR and CANCEL for a close, and everything else for a reset. */
export function tunnelError(code: number, reason: string): MeshError {
  return new MeshError(code === NO_ERROR || code === CANCEL ? 'tunnel_closed' : 'tunnel_reset', { reason });
}
