import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../src/core/clock.ts';
import { ACCESS_LOG_BYTES_MAX } from '../../src/core/limits.ts';
import { createLogger } from '../../src/core/log.ts';
import { jsonFormat, textFormat, unknownOperators } from '../../src/telemetry/access-log.ts';
import { LogWriter } from '../../src/telemetry/log-writer.ts';
import { WorkerTelemetry } from '../../src/telemetry/worker-telemetry.ts';
import { facts, serverFacts, snapshotWith } from './facts.ts';

const ENTRY = { facts: facts(), durationMs: 12.4, startedWallMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678) };

describe('access log', () => {
  it('is Istio\'s default text', () => {
    expect(textFormat()(ENTRY)).toBe(
      '[2026-01-02T03:04:05.678Z] "GET /reviews/0?x=1 HTTP/1.1" 200 - via_upstream - "-" 0 700 12 7 "-" "curl/8.5.0" ' +
        '"0f8fad5b-d9cb-469f-a165-70867728950e" "reviews:9080" "10.0.0.2:9080" - 10.0.0.1:51000 10.96.0.7:9080 10.0.0.1:40000 - -\n',
    );
  });

  it('names inbound clusters, flags and reasons', () => {
    const failed = serverFacts({ status: 503, flags: 'UF', details: 'upstream_reset_before_response_started{connection_failure}', error: { code: 'upstream_connect_failed', message: 'refused', at: undefined } });
    const line = textFormat()({ ...ENTRY, facts: failed });
    expect(line).toContain(' 503 UF upstream_reset_before_response_started{connection_failure} - "refused" ');
    expect(line).toContain(' inbound|9080|| ');
  });

  it('is one JSON object a line with Istio\'s fields', () => {
    const line = jsonFormat()(ENTRY);
    expect(line.endsWith('}\n')).toBe(true);
    expect(Object.keys(JSON.parse(line) as object)).toEqual([
      'start_time', 'route_name', 'method', 'path', 'protocol', 'response_code', 'response_flags', 'response_code_details', 'connection_termination_details', 'bytes_received',
      'bytes_sent', 'duration', 'upstream_service_time', 'x_forwarded_for', 'user_agent', 'request_id', 'authority', 'upstream_host', 'upstream_cluster', 'upstream_local_address',
      'downstream_local_address', 'downstream_remote_address', 'requested_server_name', 'upstream_transport_failure_reason',
    ]);
    expect(JSON.parse(line)).toMatchObject({ method: 'GET', response_code: 200, response_flags: null, duration: 12, upstream_host: '10.0.0.2:9080' });
  });

  it('takes the mesh\'s own format, and says which operators it does not know', () => {
    expect(textFormat('%REQ(:METHOD)% %RESPONSE_CODE% %FILTER_STATE(x)%!')(ENTRY)).toBe('GET 200 %FILTER_STATE(x)%!\n');
    expect(unknownOperators('%REQ(:METHOD)% %FILTER_STATE(x)%')).toEqual(['FILTER_STATE(x)']);
  });

  it('cannot be forged by what a client sends', () => {
    const line = textFormat()({ ...ENTRY, facts: facts({ userAgent: 'x" 200 -\n[forged]' }) });
    expect(line.split('\n')).toHaveLength(2);
    expect(line).toContain('"x\\" 200 -\\n[forged]"');
  });

  it('is off unless asked: by MeshConfig, or by the agent\'s flag, which wins', () => {
    const written = (mesh: string, flag: 'off' | 'text' | 'json' | undefined): string => {
      let text = '';
      const out = new Writable({ write: (chunk: Buffer, _encoding, done) => { text += chunk.toString(); done(); } });
      const worker = new WorkerTelemetry(new FakeClock(), createLogger('test', 'silent'), out);
      worker.use(snapshotWith(mesh), flag);
      worker.exchangeEnded(facts(), 1);
      worker.flush();
      return text;
    };
    expect(written('', undefined)).toBe('');
    expect(written('accessLogFile: /dev/stdout', undefined)).toMatch(/^\[/);
    expect(written('accessLogFile: /dev/stdout\naccessLogEncoding: JSON', undefined)).toMatch(/^\{/);
    expect(written('accessLogFile: /dev/stdout', 'off')).toBe('');
    expect(written('', 'json')).toMatch(/^\{/);
  });

  it('drops and counts lines that nobody takes, instead of holding traffic up', () => {
    const stuck = new Writable({ write: () => undefined });
    const writer = new LogWriter(new FakeClock(), stuck);
    const line = `${'x'.repeat(1023)}\n`;
    const lines = ACCESS_LOG_BYTES_MAX / 1024 + 100;
    for (let i = 0; i < lines; i += 1) writer.write(line);
    expect(writer.dropped).toBeGreaterThan(90);
    expect(stuck.writableLength).toBeLessThanOrEqual(ACCESS_LOG_BYTES_MAX + 1024);
  });
});
