import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Suites that make network namespaces, attach BPF programs or measure shares run one at a time, so that a failure names its own cause;
    // groups run one after the other.
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/netns/**', 'test/lab/**'],
          // Against hanging, not against slowness: a machine may have other things to do.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'kernel',
          sequence: { groupOrder: 1 },
          include: ['test/netns/**/*.test.ts', 'test/lab/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        // A real cluster; built first by scripts/kube.sh.
        extends: true,
        test: {
          name: 'kube',
          sequence: { groupOrder: 2 },
          include: ['test/kube/**/*.kube.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
