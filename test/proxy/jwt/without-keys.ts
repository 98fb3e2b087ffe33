/** An authenticator for tests that need one and send no tokens: nobody fetches keys for it. */
import type { Clock } from '../../../src/core/clock.ts';
import { Authenticator } from '../../../src/proxy/jwt/authenticator.ts';
import { JwksStore } from '../../../src/proxy/jwt/jwks-store.ts';

export function withoutKeys(clock: Clock): Authenticator {
  return new Authenticator(new JwksStore(clock, { want: () => undefined, refresh: () => undefined }), clock);
}
