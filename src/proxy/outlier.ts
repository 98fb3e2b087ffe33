/**
 * Outlier detection: an endpoint that fails several times in a row is left out for a while, longer each time.
 * The rules are Envoy's (docs "Outlier detection", source/common/upstream/outlier_detection_impl.cc), with one exception: the
 * first ejection is allowed whatever maxEjectionPercent says (unless it is 0), as Envoy did before `always_eject_one_host`
 * became a setting of its own. Istio's default of 10 % would otherwise never eject anything from fewer than ten endpoints,
 * which is not what somebody who writes `outlierDetection` asks for.
 */
import type { Clock, Timer } from '../core/clock.ts';
import type { OutlierPolicy } from '../mesh/table.ts';
import type { Endpoint } from './endpoint.ts';

/** Envoy's max_ejection_time when none is set: an ejection never lasts longer than this, or than the base time. */
const MAX_EJECTION_MS = 300_000;

/** What the detector asks of the cluster. */
export interface OutlierHost {
  readonly members: readonly Endpoint[];
  /** Endpoints were ejected or came back. */
  healthChanged(): void;
}

export class OutlierDetector {
  policy: OutlierPolicy;
  readonly #clock: Clock;
  readonly #host: OutlierHost;
  #sweep: Timer | undefined;

  constructor(policy: OutlierPolicy, clock: Clock, host: OutlierHost) {
    this.policy = policy;
    this.#clock = clock;
    this.#host = host;
  }

  /** An endpoint answered with `status`. */
  answered(endpoint: Endpoint, status: number): void {
    const { health } = endpoint;
    health.consecutiveLocalOrigin = 0;
    this.#count(endpoint, status);
  }

  /** No answer: connect failure, reset or timeout. Counts as a 5xx unless the policy keeps such failures apart. */
  failedLocally(endpoint: Endpoint, timeout: boolean): void {
    if (!this.policy.splitLocalOrigin) {
      this.#count(endpoint, timeout ? 504 : 503);
      return;
    }
    const { health } = endpoint;
    health.consecutiveLocalOrigin += 1;
    if (health.consecutiveLocalOrigin !== this.policy.consecutiveLocalOrigin) return;
    health.consecutiveLocalOrigin = 0;
    this.#eject(endpoint);
  }

  /** An opaque connection was made. */
  connected(endpoint: Endpoint): void {
    endpoint.health.consecutiveLocalOrigin = 0;
    if (!this.policy.splitLocalOrigin) this.#count(endpoint, 200);
  }

  /** The detector is replaced or its cluster removed. */
  stop(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  /** Endpoints of a changed cluster may still be ejected. */
  resume(): void {
    if (this.#host.members.some((endpoint) => endpoint.health.ejected)) this.#arm();
  }

  #count(endpoint: Endpoint, status: number): void {
    const { health } = endpoint;
    if (status < 500) {
      health.consecutive5xx = 0;
      health.consecutiveGatewayErrors = 0;
      return;
    }
    let eject = false;
    if (status >= 502 && status <= 504) {
      health.consecutiveGatewayErrors += 1;
      if (health.consecutiveGatewayErrors === this.policy.consecutiveGatewayErrors) {
        health.consecutiveGatewayErrors = 0;
        eject = true;
      }
    } else {
      health.consecutiveGatewayErrors = 0;
    }
    health.consecutive5xx += 1;
    if (health.consecutive5xx === this.policy.consecutive5xx) {
      health.consecutive5xx = 0;
      eject = true;
    }
    if (eject) this.#eject(endpoint);
  }

  #eject(endpoint: Endpoint): void {
    const { health } = endpoint;
    if (health.ejected || endpoint.removed || !this.#mayEject()) return;
    const { baseEjectionMs } = this.policy;
    health.ejected = true;
    health.ejectedAtMs = this.#clock.nowMs();
    if (health.backoff * baseEjectionMs < this.#longestMs() + baseEjectionMs) health.backoff += 1;
    this.#arm();
    this.#host.healthChanged();
  }

  #mayEject(): boolean {
    const { members } = this.#host;
    const ejected = members.reduce((count, endpoint) => count + (endpoint.health.ejected ? 1 : 0), 0);
    const { maxEjectionPercent } = this.policy;
    if (ejected === 0) return maxEjectionPercent > 0;
    return ((ejected + 1) * 100) / members.length <= maxEjectionPercent;
  }

  #longestMs(): number {
    return Math.max(MAX_EJECTION_MS, this.policy.baseEjectionMs);
  }

  /** Armed only while somebody is ejected or was lately: a healthy cluster costs no timer. */
  #arm(): void {
    this.#sweep ??= this.#clock.coarse(this.policy.intervalMs, () => {
      this.#sweep = undefined;
      this.#review();
    });
  }

  #review(): void {
    const nowMs = this.#clock.nowMs();
    let changed = false;
    let again = false;
    for (const { health } of this.#host.members) {
      if (health.ejected) {
        const lastsMs = Math.min(health.backoff * this.policy.baseEjectionMs, this.#longestMs());
        if (nowMs - health.ejectedAtMs >= lastsMs) {
          health.ejected = false;
          health.returnedAtMs = nowMs;
          health.consecutive5xx = 0;
          health.consecutiveGatewayErrors = 0;
          health.consecutiveLocalOrigin = 0;
          changed = true;
        }
      } else if (health.backoff > 0 && nowMs - health.returnedAtMs >= this.policy.intervalMs) {
        health.backoff -= 1;
      }
      if (health.ejected || health.backoff > 0) again = true;
    }
    if (again) this.#arm();
    if (changed) this.#host.healthChanged();
  }
}
