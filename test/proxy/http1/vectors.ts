/** Reads the vectors of llhttp: Markdown with a message and the log of what a parser should find in it. */
import { readFileSync, readdirSync } from 'node:fs';

export interface Span {
  readonly name: string;
  text: string;
}

export interface Message {
  /** Method, url, version, status, header_field, header_value and body, one per part however the log splits them. */
  readonly spans: Span[];
  headComplete: boolean;
  complete: boolean;
}

export interface Vector {
  /** `request/method.md: Title`. */
  readonly name: string;
  /** llhttp's mode: `request`, `response`, or a lenient one. */
  readonly mode: string;
  readonly input: Buffer;
  /** The body of every message is left out. */
  readonly skipBody: boolean;
  readonly messages: readonly Message[];
  /** The reason given for refusing the input; undefined when it is valid. */
  readonly error: string | undefined;
  /** llhttp hands what follows over to another protocol here (an upgrade). */
  readonly switches: boolean;
}

const FOLDER = new URL('../../data/llhttp/', import.meta.url);
const CASE = /^#{1,6} +(?<title>[^\n]+)|<!-- meta=(?<meta>\{[^\n]*\}) -->\n```http\n(?<http>(?:(?!```)[\s\S])*)\n```\n(?:(?!<!--|```)[\s\S])*```log\n(?<log>(?:(?!```)[\s\S])*)\n```/gm;
/** Codes by which llhttp pauses instead of failing. */
const PAUSED = '21';
const SWITCHED = '22';
/** How the log writes spans that are one control. */
const CONTROLS: Readonly<Record<string, string>> = { cr: '\r', lf: '\n', tab: '\t' };
const PARTS = new Set(['method', 'url', 'version', 'status', 'header_field', 'header_value', 'body']);

export function readVectors(kind: 'request' | 'response'): Vector[] {
  const vectors: Vector[] = [];
  for (const file of readdirSync(new URL(`${kind}/`, FOLDER)).sort()) {
    const text = readFileSync(new URL(`${kind}/${file}`, FOLDER), 'utf8');
    let title = '';
    for (const { groups } of text.matchAll(CASE)) {
      if (groups?.['title'] !== undefined) title = groups['title'].trim();
      else if (groups?.['meta'] !== undefined) vectors.push(readVector(`${kind}/${file}: ${title}`, groups['meta'], groups['http'] ?? '', groups['log'] ?? ''));
    }
  }
  return vectors;
}

function readVector(name: string, meta: string, http: string, log: string): Vector {
  const { type, skipBody = false } = JSON.parse(meta) as { type: string; skipBody?: boolean };
  const messages: Message[] = [];
  let message: Message = { spans: [], headComplete: false, complete: false };
  let error: string | undefined;
  let switches = false;
  let open: Span | undefined;
  for (const line of log.split('\n')) {
    const span = /span\[(\w+)\]=(?:"(.*)"|(cr|lf|tab))$/.exec(line);
    if (span !== null) {
      const [, part = '', quoted, control = ''] = span;
      const text = quoted?.replaceAll('\\t', '\t') ?? CONTROLS[control] ?? '';
      if (!PARTS.has(part)) continue;
      if (open?.name === part) open.text += text;
      else message.spans.push((open = { name: part, text: text }));
      continue;
    }
    if (line.endsWith(' message begin')) {
      message = { spans: [], headComplete: false, complete: false };
      messages.push(message);
      open = undefined;
    }
    // The spans of a body belong together across its chunks; every other part ends here.
    if (/ (?:method|url|version|status|header_field|header_value) complete/.test(line)) open = undefined;
    if (/ headers complete/.test(line)) message.headComplete = true;
    if (/ message complete/.test(line)) message.complete = true;
    const failure = /error code=(\d+) reason="(.*)"/.exec(line);
    if (failure?.[1] === SWITCHED) switches = true;
    else if (failure !== null && failure[1] !== PAUSED) error = failure[2];
  }
  return { name, mode: type, input: readInput(http), skipBody, messages, error, switches };
}

/** As llhttp's own reader does it: line ends become CR LF, escapes become what they stand for. */
function readInput(http: string): Buffer {
  const text = http.replaceAll('\\\n', '').replaceAll('\n', '\r\n');
  return Buffer.from(unescape(text));
}

function unescape(text: string): string {
  return text.replaceAll(/\\(?:[rntf]|x[0-9a-fA-F]{2})/g, escaped);
}

function escaped(part: string): string {
  const simple: Readonly<Record<string, string>> = { '\\r': '\r', '\\n': '\n', '\\t': '\t', '\\f': '\f' };
  return simple[part] ?? String.fromCharCode(Number.parseInt(part.slice(2), 16));
}
