import { describe, expect, it } from 'vitest';
import { isReadOnly } from '../../src/redirect/sysctls.ts';

const PROC = 'proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n';

describe('the sysctls of network namespaces', () => {
  it.each([
    ['on a host', PROC, false],
    ['in a container', `${PROC}proc /proc/sys proc ro,nosuid,nodev,noexec,relatime 0 0\n`, true],
    ['in a container whose agent has begun', `${PROC}proc /proc/sys proc rw,nosuid,nodev,noexec,relatime 0 0\n`, false],
    ['beside other parts that are read-only', `${PROC}proc /proc/irq proc ro,relatime 0 0\nproc /proc/sysrq-trigger proc ro 0 0\n`, false],
  ])('%s', (_, mounts, expected) => {
    expect(isReadOnly(mounts)).toBe(expected);
  });
});
