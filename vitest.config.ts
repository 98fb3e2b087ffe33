import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Suites that make network namespaces, attach BPF programs or measure shares run one at a time, so that a failure names its own cause.
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/netns/**', 'test/lab/**', 'test/kube/cluster/**'],
          // Against hanging, not against slowness: a machine may have other things to do.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'kernel',
          include: ['test/netns/**/*.test.ts', 'test/lab/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
