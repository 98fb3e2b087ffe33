/** Who asks: the node behind a bearer token. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { NODE_TOKENS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';

export interface NodeAuthenticator {
  /** The name of the node whose token this is; undefined when it is nobody's. */
  authenticate(token: string): Promise<string | undefined>;
}

interface KnownToken {
  readonly digest: Buffer;
  readonly node: string;
}

const TOKEN_CHARS_MIN = 16;

/**
 * Tokens in a file of lines `token,node`; empty lines and those that begin with # are passed over. For machines without a Kubernetes to vouch
 * for its nodes. The file is read anew when it changes; while it cannot be read, or is wrong, the tokens before are in force.
 */
export class TokenFile implements NodeAuthenticator {
  readonly #path: string;
  readonly #log: Logger;
  #tokens: readonly KnownToken[];
  #version: string;

  /** Throws with line and remedy when the file is no good. */
  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.#version = versionOf(path);
    this.#tokens = readTokens(path);
  }

  async authenticate(token: string): Promise<string | undefined> {
    this.#refresh();
    const digest = digestOf(token);
    // Each is compared, in constant time, so that the time it takes tells nothing of how much was right, or where it stands.
    let node: string | undefined;
    for (const known of this.#tokens) if (timingSafeEqual(known.digest, digest)) node = known.node;
    return node;
  }

  #refresh(): void {
    const version = versionOf(this.#path);
    if (version === this.#version) return;
    this.#version = version;
    try {
      this.#tokens = readTokens(this.#path);
      this.#log.info({ file: this.#path, tokens: this.#tokens.length }, 'the tokens of the nodes were read anew');
    } catch (error) {
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, 'the tokens before stay in force');
    }
  }
}

/** Changes whenever the file does; of a file that is missing, a version too. */
function versionOf(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? '' : `${found.ino} ${found.size} ${found.mtimeNs}`;
}

function readTokens(path: string): KnownToken[] {
  const lines = readFileSync(path, 'utf8').split('\n').map((line) => line.trim());
  const tokens = lines.flatMap((line, index) => (line === '' || line.startsWith('#') ? [] : [parseLine(line, `${path}:${index + 1}`)]));
  if (tokens.length > NODE_TOKENS_MAX) throw new Error(`${path} has ${tokens.length} tokens; ${NODE_TOKENS_MAX} is the limit`);
  return tokens;
}

/** Messages name the place, never the token. */
function parseLine(line: string, place: string): KnownToken {
  const [token = '', node = '', ...more] = line.split(',').map((part) => part.trim());
  if (node === '' || more.length > 0) throw new Error(`${place}: a line is a token, a comma and the name of a node`);
  if (token.length < TOKEN_CHARS_MIN) throw new Error(`${place}: the token of node ${node} is shorter than ${TOKEN_CHARS_MIN} characters; make one with: openssl rand -hex 32`);
  return { digest: digestOf(token), node };
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
