/** What a matcher may ask of a request. Kept narrow, so that `explain` can ask the same of a request that was never sent. */
export interface RequestView {
  readonly method: string;
  /** Path without query, as received. */
  readonly path: string;
  /** Query without its `?`, as received; empty when absent. */
  readonly query: string;
  readonly scheme: string;
  /** Host header as received, with its port if it has one. */
  readonly authority: string;
  /** First value of a header, by lower-case name (several lines joined by `,`, RFC 9110 §5.3). */
  header(lowerName: string): string | undefined;
}

/** Accepts or refuses a request. Compiled once per route; makes no garbage. */
export type Matcher = (request: RequestView) => boolean;

/** The matcher of a route without `match`. */
export const matchAll: Matcher = () => true;
