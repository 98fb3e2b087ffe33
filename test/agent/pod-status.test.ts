/** What a pod is told about its part in the mesh. */
import { describe, expect, it } from 'vitest';
import type { PodState } from '../../src/agent/enrolment.ts';
import { podStatuses, releasedStatuses } from '../../src/agent/pod-status.ts';
import type { PodEvent } from '../../src/kube/pod-status.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';

interface Given {
  readonly state: PodState['state'];
  readonly reason?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hostNetwork?: boolean;
  /** Spec of a PeerAuthentication of its namespace. */
  readonly peers?: object;
  /** What the annotation said before. */
  readonly before?: string;
  readonly released?: boolean;
}

/** Annotation and event of one pod. */
function told({ state, reason = 'why', annotations = { 'orlop.io/mesh': 'enabled' }, hostNetwork = false, peers, before, released = false }: Given): { annotation: unknown; event: PodEvent | undefined } {
  const objects = [
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop', uid: 'u', labels: { app: 'web' }, annotations }, spec: { nodeName: 'n', hostNetwork, containers: [] } },
    ...(peers === undefined ? [] : [{ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata: { name: 'default', namespace: 'shop' }, spec: peers }]),
  ];
  const snapshot = buildSnapshot(objects.map((value) => ({ name: value.kind, value })));
  const status = (released ? releasedStatuses : podStatuses)(snapshot, [{ id: 'shop/web', state, reason }]).get('shop/web');
  expect(status?.uid).toBe('u');
  return { annotation: status?.annotation === undefined ? undefined : JSON.parse(status.annotation), event: status?.eventAfter(before) };
}

const ENROLLED = '{"state":"enrolled","reason":"why"}';

describe('a pod is told', () => {
  it('that it is in the mesh, and why', () => {
    expect(told({ state: 'enrolled' })).toEqual({ annotation: JSON.parse(ENROLLED), event: { type: 'Normal', reason: 'Enrolled', message: 'In the mesh by why' } });
  });

  it('that it could not be enrolled, again only when there is another reason', () => {
    const failed = told({ state: 'failed' });
    expect(failed).toMatchObject({ annotation: { state: 'failed', reason: 'why' }, event: { type: 'Warning', reason: 'EnrolFailed' } });
    expect(told({ state: 'failed', before: JSON.stringify(failed.annotation) }).event).toBeUndefined();
    expect(told({ state: 'failed', reason: 'else', before: JSON.stringify(failed.annotation) }).event?.message).toContain('else');
  });

  it('why it is not in the mesh though it asks', () => {
    expect(told({ state: 'not enrolled', hostNetwork: true, reason: 'it uses the host network' })).toMatchObject({
      annotation: { state: 'not enrolled', reason: 'it uses the host network' }, event: { type: 'Warning', reason: 'NotEnrolled', message: 'Not in the mesh: it uses the host network' },
    });
  });

  it('nothing when it does not ask, or has no process yet', () => {
    expect(told({ state: 'not enrolled', annotations: {} })).toEqual({ annotation: undefined, event: undefined });
    expect(told({ state: 'not enrolled', annotations: {}, hostNetwork: true })).toEqual({ annotation: undefined, event: undefined });
    expect(told({ state: 'not enrolled' })).toEqual({ annotation: undefined, event: undefined });
  });

  it('that it has left, when it was in the mesh', () => {
    expect(told({ state: 'not enrolled', annotations: {}, before: ENROLLED })).toEqual({ annotation: undefined, event: { type: 'Normal', reason: 'Released', message: 'No longer in the mesh: why' } });
    expect(told({ state: 'not enrolled', annotations: {}, before: '{"state":"failed","reason":"x"}' }).event).toBeUndefined();
    expect(told({ state: 'enrolled', released: true, before: ENROLLED })).toMatchObject({ annotation: undefined, event: { reason: 'Released', message: expect.stringContaining('agent of its node ends') as string } });
  });

  it('nothing new by the next agent', () => {
    expect(told({ state: 'enrolled', before: ENROLLED }).event).toBeUndefined();
  });

  it.each(['', 'null', '7', '[]', '{"state":{},"reason":[],"bypassesStrict":"x"}', '{'])('in spite of what somebody else has written there: %s', (before) => {
    expect(told({ state: 'enrolled', before }).event?.reason).toBe('Enrolled');
  });
});

describe('what escapes STRICT is named', () => {
  const STRICT = { mtls: { mode: 'STRICT' } };
  const selector = { matchLabels: { app: 'web' } };
  const bypasses = (peers: object | undefined, exclusions: Readonly<Record<string, string>>): unknown => (told({ state: 'enrolled', annotations: { 'orlop.io/mesh': 'enabled', ...exclusions }, ...(peers === undefined ? {} : { peers }) }).annotation as { bypassesStrict?: unknown }).bypassesStrict;

  it.each([
    [STRICT, { 'orlop.io/exclude-inbound-ports': '9090,9100-9110' }, ['inbound ports 9090, 9100-9110']],
    [STRICT, { 'orlop.io/include-inbound-ports': '80' }, ['inbound ports other than 80']],
    [STRICT, { 'ambient.istio.io/bypass-inbound-capture': 'true' }, ['all inbound ports']],
    [STRICT, { 'orlop.io/exclude-inbound-cidrs': '10.0.0.0/8', 'orlop.io/exclude-interfaces': 'eth1' }, ['connections from 10.0.0.0/8', 'interfaces eth1']],
    [STRICT, { 'orlop.io/exclude-outbound-ports': '5432' }, undefined],
    [{ selector, ...STRICT, portLevelMtls: { 9090: { mode: 'PERMISSIVE' } } }, { 'orlop.io/exclude-inbound-ports': '9090' }, undefined],
    [{ selector, portLevelMtls: { 9090: { mode: 'STRICT' } } }, { 'orlop.io/exclude-inbound-ports': '9090,9091' }, ['inbound ports 9090-9091']],
    [{ selector, portLevelMtls: { 9090: { mode: 'STRICT' } } }, { 'orlop.io/include-inbound-ports': '9090' }, undefined],
    [{ mtls: { mode: 'PERMISSIVE' } }, { 'orlop.io/exclude-inbound-ports': '9090' }, undefined],
    [undefined, { 'orlop.io/exclude-inbound-ports': '9090' }, undefined],
  ])('%j with %j: %j', (peers, exclusions, expected) => {
    expect(bypasses(peers, exclusions)).toEqual(expected);
  });

  it('in the event too, which is a warning then', () => {
    const { event } = told({ state: 'enrolled', annotations: { 'orlop.io/mesh': 'enabled', 'orlop.io/exclude-inbound-ports': '9090' }, peers: STRICT, before: ENROLLED });
    expect(event).toEqual({ type: 'Warning', reason: 'Enrolled', message: 'In the mesh by why; not captured, so that STRICT is not enforced: inbound ports 9090' });
  });
});
