/** The question of `orlop explain`, as it crosses the admin socket. */
import type { Question } from './explain.ts';

export function questionFrom(parameters: URLSearchParams): Question {
  const text = (name: string, otherwise = ''): string => parameters.get(name) ?? otherwise;
  const headers = parameters.getAll('header').map((line): [string, string] => {
    const colon = line.indexOf(':');
    return colon < 0 ? [line.trim().toLowerCase(), ''] : [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { from: text('from'), to: text('to'), method: text('method', 'GET'), path: text('path', '/'), headers: new Map(headers) };
}

/** The other way. */
export function parametersOf({ from, to, method, path, headers }: Question): URLSearchParams {
  const parameters = new URLSearchParams({ from, to, method, path });
  for (const [name, value] of headers) parameters.append('header', `${name}: ${value}`);
  return parameters;
}
