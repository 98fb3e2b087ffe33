import { describe } from 'vitest';
import { codecSuite } from '../../spec/codec.ts';

describe('HTTP/1.1', () => {
  codecSuite('http1');
});
