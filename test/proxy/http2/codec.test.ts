import { describe } from 'vitest';
import { codecSuite } from '../../spec/codec.ts';

describe('HTTP/2', () => {
  codecSuite('http2');
});
