/**
 * Bytes as text, one character a byte: how message heads and small bodies are handled. `latin1Slice` is Node's own method
 * behind toString('latin1', …), without the argument handling that costs as much as the copy of a small slice; it is not in
 * the type definitions.
 */
interface Latin1Buffer extends Buffer {
  latin1Slice(start: number, end: number): string;
}

/** The bytes from `start` up to `end` as a latin1 string. */
export function latin1(buffer: Buffer, start: number, end: number): string {
  return (buffer as Latin1Buffer).latin1Slice(start, end);
}
