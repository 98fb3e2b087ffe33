/** Path templates of AuthorizationPolicy: `/orders/{*}/items`, `/files/{**}`. */

/** Why `pattern` is no template; undefined when it is one, or has no braces and is none. */
export function templateFault(pattern: string): string | undefined {
  if (!/[{}]/.test(pattern)) return undefined;
  let rest = false;
  for (const segment of pattern.split('/')) {
    if (segment !== '{*}' && segment !== '{**}') {
      if (/[{}*]/.test(segment)) return `"${segment}" is neither text nor {*} nor {**}`;
      continue;
    }
    if (rest) return '{**} must be the last operator';
    rest = segment === '{**}';
  }
  return undefined;
}

export function isTemplate(pattern: string): boolean {
  return pattern.includes('{');
}

/**
 * A test for the whole path. `{*}` is one segment, which is not empty; `{**}` any number of them, or none. There is one
 * `{**}` at most, and segments have fixed borders, so the time is linear in the path for each operator.
 */
export function templateTest(pattern: string): (path: string) => boolean {
  const source = pattern
    .split('/')
    .map((segment) => (segment === '{*}' ? '[^/]+' : segment === '{**}' ? '.*' : segment.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)))
    .join('/');
  const form = new RegExp(`^${source}$`, 's');
  return (path) => form.test(path);
}
