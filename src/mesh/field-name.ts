import type { Path } from './parse/document.ts';

/** A field's path as people write it: `spec.http[0].match[1]`. */
export function fieldName(path: Path): string {
  return path.reduce<string>((name, step) => (typeof step === 'number' ? `${name}[${step}]` : name === '' ? step : `${name}.${step}`), '');
}
