/**
 * Huffman-coded strings (RFC 7541 §5.2), eight bits a step. A state is an inner node of the code's tree, that is, the bits of
 * an unfinished code; a step is one look-up by state and octet, which finishes at most two codes, the shortest having 5 bits.
 */
import { HpackError } from './error.ts';
import { CODES, CODE_LENGTHS, EOS } from './huffman-code.ts';

/** The tree has 257 leaves, so 256 inner nodes: a state fits an octet. Node 0 is the root. */
const STATES = 256;
/** In {@link CHILDREN}, at and above this: a leaf, with its symbol added. */
const LEAF = 0x200;
const CHILDREN = tree();

/** In a step: the code of EOS came to its end. */
const FAILED = 1 << 26;
/** By state and octet: the next state (8 bits), how many symbols were finished (2 bits), these symbols (8 bits each), or {@link FAILED}. */
const STEPS = steps();
/** States a string may end in: at most 7 bits of a code, all of them ones. */
const PADDING = paddingStates();

/** Codes of up to 16 bits, each with its length in the low 5 bits: all printable characters. Longer ones are 0, and coded in two parts. */
const SHORT = Int32Array.from({ length: 256 }, (_, octet) => {
  const length = CODE_LENGTHS[octet] as number;
  return length <= 16 ? ((CODES[octet] as number) << 5) | length : 0;
});
/** Of a longer code: its second part. */
const LOW_BITS = 15;
const LOW_MASK = 0x7fff;

function tree(): Uint16Array {
  const children = new Uint16Array(STATES * 2);
  let nodes = 1;
  for (let symbol = 0; symbol < CODES.length; symbol += 1) {
    const code = CODES[symbol] as number;
    let node = 0;
    for (let bit = (CODE_LENGTHS[symbol] as number) - 1; bit > 0; bit -= 1) {
      const at = node * 2 + ((code >>> bit) & 1);
      if (children[at] === 0) {
        children[at] = nodes;
        nodes += 1;
      }
      node = children[at] as number;
    }
    children[node * 2 + (code & 1)] = LEAF + symbol;
  }
  return children;
}

function steps(): Int32Array {
  const table = new Int32Array(STATES * 256);
  for (let state = 0; state < STATES; state += 1) {
    for (let octet = 0; octet < 256; octet += 1) table[state * 256 + octet] = step(state, octet);
  }
  return table;
}

function step(state: number, octet: number): number {
  let node = state;
  let count = 0;
  let symbols = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    node = CHILDREN[node * 2 + ((octet >>> bit) & 1)] as number;
    if (node < LEAF) continue;
    const symbol = node - LEAF;
    if (symbol === EOS) return FAILED;
    symbols |= symbol << (10 + count * 8);
    count += 1;
    node = 0;
  }
  return node | (count << 8) | symbols;
}

function paddingStates(): Uint8Array {
  const accepted = new Uint8Array(STATES);
  let node = 0;
  for (let bits = 0; bits <= 7; bits += 1) {
    accepted[node] = 1;
    node = CHILDREN[node * 2 + 1] as number;
  }
  return accepted;
}

/** Octets that `length` coded octets can become at most, plus the two that the last step may write in vain. */
export function decodedLengthMax(length: number): number {
  return Math.floor((length * 8) / 5) + 2;
}

/**
 * Decode `source` from `start` up to `end` into the beginning of `target`, which has room for {@link decodedLengthMax}.
 * Returns the length. Throws {@link HpackError} for a code of EOS and for padding that is not a part of it below 8 bits.
 */
export function huffmanDecode(source: Buffer, start: number, end: number, target: Buffer): number {
  let state = 0;
  let length = 0;
  for (let i = start; i < end; i += 1) {
    const entry = STEPS[(state << 8) | (source[i] as number)] as number;
    if (entry >= FAILED) throw new HpackError('a Huffman-coded string contains EOS');
    // Writing both places and counting is cheaper than asking which of them are meant.
    target[length] = (entry >>> 10) & 0xff;
    target[length + 1] = (entry >>> 18) & 0xff;
    length += (entry >>> 8) & 3;
    state = entry & 0xff;
  }
  if (PADDING[state] === 0) throw new HpackError('a Huffman-coded string has wrong padding');
  return length;
}

/** Octets of a latin1 string when coded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i += 1) bits += CODE_LENGTHS[text.charCodeAt(i) & 0xff] as number;
  return (bits + 7) >>> 3;
}

/** Code a latin1 string into `target` at `offset`, which has room for it; returns the offset behind it. */
export function huffmanEncode(text: string, target: Buffer, offset: number): number {
  let at = offset;
  // Bits not written yet: the last `pending` of `bits`, fewer than 16 between two steps.
  let bits = 0;
  let pending = 0;
  for (let i = 0; i < text.length; i += 1) {
    const symbol = text.charCodeAt(i);
    let packed = SHORT[symbol] as number;
    if (packed === 0) {
      const code = CODES[symbol] as number;
      const high = (CODE_LENGTHS[symbol] as number) - LOW_BITS;
      bits = (bits << high) | (code >>> LOW_BITS);
      pending += high;
      if (pending >= 16) {
        pending -= 16;
        target[at] = bits >>> (pending + 8);
        target[at + 1] = bits >>> pending;
        at += 2;
      }
      packed = ((code & LOW_MASK) << 5) | LOW_BITS;
    }
    const length = packed & 31;
    bits = (bits << length) | (packed >>> 5);
    pending += length;
    if (pending < 16) continue;
    pending -= 16;
    target[at] = bits >>> (pending + 8);
    target[at + 1] = bits >>> pending;
    at += 2;
  }
  if (pending >= 8) {
    pending -= 8;
    target[at] = bits >>> pending;
    at += 1;
  }
  if (pending > 0) {
    target[at] = (bits << (8 - pending)) | (0xff >>> pending);
    at += 1;
  }
  return at;
}
