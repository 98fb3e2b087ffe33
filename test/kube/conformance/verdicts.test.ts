/** The lines are those of the suite of v1.6.3. */
import { expect, test } from 'vitest';
import { VerdictReader } from './verdicts.ts';
import type { Verdict } from './verdicts.ts';

const OUTPUT = `
=== RUN   TestConformance
    conformance.go:104: Running conformance tests with:
=== RUN   TestConformance/MeshBasic
=== NAME  TestConformance/MeshBasic
    apply.go:283: Creating nothing
=== RUN   TestConformance/MeshBasic/0_request
    pod.go:72: Got resp
=== END   TestConformance/MeshBasic passed
=== RUN   TestConformance/MeshTrafficSplit
=== RUN   TestConformance/MeshTrafficSplit/0_request_to_'echo-v1/v1'
=== RUN   TestConformance/MeshTrafficSplit/1_request_to_'echo/v2'
    pod.go:72: Response expectation failed for request: wanted status code to be one of [200], got 404
    pod.go:60:
        	Error Trace:	http.go:278
        	Error:      	timeout while waiting after 51 attempts, 0/3 successes
=== END   TestConformance/MeshTrafficSplit failed
=== RUN   TestConformance/TLSRouteSimple
    conformance.go:61: Skipping TLSRouteSimple: suite does not support TLSRoute
=== END   TestConformance/TLSRouteSimple skipped
--- FAIL: TestConformance (51.00s)
`;

test('reads which tests passed, and of those that failed which part expected what', () => {
  const reader = new VerdictReader();
  const verdicts = OUTPUT.split('\n').map((line) => reader.read(line)).filter((verdict): verdict is Verdict => verdict !== undefined);
  expect(verdicts).toEqual([
    { name: 'MeshBasic', result: 'passed', failures: [] },
    {
      name: 'MeshTrafficSplit', result: 'failed',
      failures: [{
        part: "1_request_to_'echo/v2'",
        said: [
          'pod.go:72: Response expectation failed for request: wanted status code to be one of [200], got 404',
          'pod.go:60:',
          'Error Trace:	http.go:278',
          'Error:      	timeout while waiting after 51 attempts, 0/3 successes',
        ],
      }],
    },
    { name: 'TLSRouteSimple', result: 'skipped', failures: [] },
  ]);
});
