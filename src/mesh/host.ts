/** Host names as Istio reads them: short names, fully qualified ones, wildcards. */

export const CLUSTER_DOMAIN = 'cluster.local';

/** A name without a dot is a service in the namespace of the rule that uses it, not of the service it means. */
export function qualify(host: string, namespace: string): string {
  return host.includes('.') || host === '*' ? host.toLowerCase() : `${host.toLowerCase()}.${namespace}.svc.${CLUSTER_DOMAIN}`;
}

/** Does `pattern` (`*`, `*.example.com` or a plain name) cover `host`? `*.example.com` does not cover `example.com`. */
export function covers(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  if (pattern.startsWith('*')) return host.length >= pattern.length && host.endsWith(pattern.slice(1));
  return pattern === host;
}

/** Whether one of `patterns` covers a name, in a time that does not grow with their number. */
export function coverage(patterns: readonly string[]): (host: string) => boolean {
  const all = new Set(patterns);
  const lengths = [...new Set(patterns.filter((pattern) => pattern.startsWith('*')).map(({ length }) => length))].sort((a, b) => a - b);
  return (host) => {
    if (all.has('*') || (all.has(host) && !host.startsWith('*'))) return true;
    for (const length of lengths) {
      if (length > host.length) return false;
      if (all.has(`*${host.slice(host.length - length + 1)}`)) return true;
    }
    return false;
  };
}

/** The more specific of two patterns first: exact names, then longer suffixes. */
export function bySpecificity(a: string, b: string): number {
  const wildA = a.startsWith('*');
  const wildB = b.startsWith('*');
  return wildA === wildB ? b.length - a.length : wildA ? 1 : -1;
}

/** A Host header or :authority as a name to look up: lower case, without port and without trailing dot. */
export function hostOf(authority: string): string {
  let end = authority.length;
  const bracket = authority.charCodeAt(0) === 0x5b ? authority.indexOf(']') : -1;
  if (bracket > 0) return authority.slice(1, bracket).toLowerCase();
  const colon = authority.lastIndexOf(':');
  if (colon >= 0 && authority.indexOf(':') === colon) end = colon;
  if (end > 0 && authority.charCodeAt(end - 1) === 0x2e) end -= 1;
  const host = end === authority.length ? authority : authority.slice(0, end);
  return isLower(host) ? host : host.toLowerCase();
}

function isLower(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code >= 0x41 && code <= 0x5a) return false;
  }
  return true;
}
