/** Which pods stand behind a Service's port, and on which port of theirs. Pure. */
import { podKey, selectedPods } from './world.ts';
import type { LabPod, LabService, ServicePort } from './world.ts';

export interface ServiceEndpoint {
  pod: LabPod;
  port: number;
  ready: boolean;
}

/** Keys (`namespace/name`) of the pods that are ready. */
export type ReadyPods = ReadonlySet<string>;

/** Endpoints of one port, those that are not ready included; a pod that lacks the named target port is none. */
export function endpointsOf(service: LabService, port: ServicePort, pods: readonly LabPod[], ready: ReadyPods): ServiceEndpoint[] {
  return selectedPods(service, pods).flatMap((pod) => {
    const target = targetPort(pod, port);
    return target === undefined ? [] : [{ pod, port: target, ready: service.publishNotReady || ready.has(podKey(pod)) }];
  });
}

function targetPort(pod: LabPod, { targetPort: target, protocol }: ServicePort): number | undefined {
  if (typeof target === 'number') return target;
  return pod.containers.flatMap((container) => container.ports).find((port) => port.name === target && port.protocol === protocol)?.port;
}
